//! Nothing overlaps and nothing is cut, whatever the shapes and the names; measured by resvg's own text layout.

use attnscope::compare::Metric;
use attnscope::figures::Figure;
use resvg::usvg::{Group, Node, Options, Rect, Tree};

use super::{Scan, Svg, World};

const NAMES: [&str; 4] = [
    "organisation-with-quite-a-long-name/a-model-with_an_even.longer-name-70b-instruct-2026-11-22",
    "short",
    "модель/глубокая-ünïcode <&> \"quoted\" 模型",
    "oneverylongwordwithoutanyplacewherealinecouldbebrokenandwhichgoesonandonandonandonandonandonand",
];

/// The boxes of all texts, in pixels, with the words.
pub fn texts(figure: &Figure) -> Vec<(Rect, String)> {
    fn collect(group: &Group, found: &mut Vec<(Rect, String)>) {
        for node in group.children() {
            match node {
                Node::Group(group) => collect(group, found),
                Node::Text(text) => {
                    let words: Vec<&str> = text.chunks().iter().map(|chunk| chunk.text()).collect();
                    found.push((node.abs_bounding_box(), words.concat()));
                }
                _ => {}
            }
        }
    }
    let mut options = Options::default();
    options
        .fontdb_mut()
        .load_font_data(dejavu::sans::regular().to_vec());
    let tree = Tree::from_str(&figure.svg, &options).unwrap();
    assert_eq!(
        (tree.size().width(), tree.size().height()),
        (figure.width as f32, figure.height as f32)
    );
    let mut found = Vec::new();
    collect(tree.root(), &mut found);
    assert!(found.len() >= 5, "{}: {} texts", figure.name, found.len());
    found
}

/// Whether two boxes share more than a rounding error.
fn overlap(a: &Rect, b: &Rect) -> bool {
    const SLACK: f32 = 0.5;
    a.left() + SLACK < b.right()
        && b.left() + SLACK < a.right()
        && a.top() + SLACK < b.bottom()
        && b.top() + SLACK < a.bottom()
}

/// No text lies on another one or leaves the sheet.
pub fn texts_lie_apart(figure: &Figure) {
    let texts = texts(figure);
    for (at, (own, words)) in texts.iter().enumerate() {
        assert!(
            own.left() >= 0.0
                && own.top() >= 0.0
                && own.right() <= figure.width as f32
                && own.bottom() <= figure.height as f32,
            "{}: `{words}` leaves the sheet: {own:?}",
            figure.name
        );
        for (other, others) in &texts[at + 1..] {
            assert!(
                !overlap(own, other),
                "{}: `{words}` {own:?} lies on `{others}` {other:?}",
                figure.name
            );
        }
    }
}

fn check(figure: &Figure, labels: &[&str]) {
    texts_lie_apart(figure);
    let texts = texts(figure);
    // No words on cells, bars or colours.
    let svg = Svg::of(figure);
    for bar in svg.bars.iter().filter(|bar| bar.fill != "#FFFFFF") {
        let pixels =
            [bar.x, bar.y, bar.x + bar.width, bar.y + bar.height].map(|u| (u / 4.0) as f32);
        let area = Rect::from_ltrb(pixels[0], pixels[1], pixels[2], pixels[3]).unwrap();
        assert!(area.right() <= figure.width as f32 && area.bottom() <= figure.height as f32);
        if let Some((_, words)) = texts.iter().find(|(text, _)| overlap(text, &area)) {
            panic!("{}: `{words}` lies on {bar:?}", figure.name);
        }
    }
    // Every name is there as a whole, over however many lines.
    let joined: String = svg
        .words
        .iter()
        .flat_map(|(words, ..)| words.chars())
        .filter(|c| !c.is_whitespace())
        .collect();
    for label in labels {
        let label: String = label.chars().filter(|c| !c.is_whitespace()).collect();
        assert!(
            joined.contains(&label),
            "{}: no `{label}` in {joined}",
            figure.name
        );
    }
}

#[test]
fn texts_lie_beside_each_other_for_every_shape() {
    let mut checked = 0;
    for (layers, heads) in [(1, 1), (2, 4), (32, 32), (64, 128)] {
        let scans: Vec<Scan<'_>> = NAMES.map(|name| Scan::new(name, layers, heads)).into();
        let world = World::of(&scans);
        for count in 1..=4 {
            let request = attnscope::figures::Request {
                scans: world.paths[..count].to_vec(),
                ..world.request(&[Metric::SparsityScore, Metric::TotalWeight])
            };
            for figure in attnscope::figures::draw(&request).unwrap().figures {
                check(&figure, &NAMES[..count]);
                checked += 1;
            }
        }
    }
    assert_eq!(checked, 4 * 4 * 7);
}

#[test]
fn texts_lie_beside_each_other_for_models_of_different_shapes() {
    let shapes = [(1, 1), (80, 64), (2, 4), (12, 12)];
    let mut scans: Vec<Scan<'_>> = NAMES
        .iter()
        .zip(shapes)
        .map(|(name, (layers, heads))| Scan::new(name, layers, heads))
        .collect();
    scans[1].total = 1234.5;
    scans[2].broken = vec![(0, 1)];
    let world = World::of(&scans);
    for figure in world.draw(&Metric::BASE).figures {
        check(&figure, &NAMES);
    }
    // By force, with a line that says so.
    let mut request = world.request(&[Metric::Entropy]);
    request.scans.push(super::files::other_texts(&world));
    request.force = true;
    for figure in attnscope::figures::draw(&request).unwrap().figures {
        check(&figure, &NAMES);
        let words = Svg::of(&figure).text().replace('\n', " ");
        assert!(words.contains("did not measure the same thing"), "{words}");
        assert!(words.contains("max_seq_len"), "{words}");
    }
}
