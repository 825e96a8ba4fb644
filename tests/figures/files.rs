//! The files: their bytes, their pixels, and what is refused.

use std::fs;
use std::path::PathBuf;

use attnscope::Error;
use attnscope::compare::Metric;
use attnscope::figures::{Format, PIXEL_RATIO, Request, draw, refuse_occupied, write};
use resvg::tiny_skia::Pixmap;
use resvg::usvg::roxmltree::Document;

use super::{Scan, Svg, World, named};

/// A scan whose texts were cut elsewhere than those of `world`.
pub fn other_texts(world: &World) -> PathBuf {
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/compare");
    let copy = world.dir.path().join("other-texts.parquet");
    fs::copy(golden.join("other-texts.parquet"), &copy).unwrap();
    copy
}

fn pair() -> World {
    World::of(&[
        Scan::new("org/one", 4, 6),
        Scan::new("модель <&> 模型\u{1}", 3, 5),
    ])
}

#[test]
fn pictures_are_the_drawing_in_pixels() {
    let world = pair();
    let figures = world.draw(&[Metric::SparsityScore]);
    let names: Vec<&str> = figures
        .figures
        .iter()
        .map(|figure| figure.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "histogram-sparsity_score",
            "histogram-max_weight",
            "heads-sparsity_score",
            "layers-sparsity_score",
            "scatter"
        ]
    );
    for figure in &figures.figures {
        let picture = Pixmap::decode_png(&figure.png().unwrap()).unwrap();
        assert_eq!(picture.width(), PIXEL_RATIO * figure.width);
        assert_eq!(picture.height(), PIXEL_RATIO * figure.height);
        let is_ink = |pixel: &&resvg::tiny_skia::PremultipliedColorU8| {
            assert_eq!(pixel.alpha(), 255);
            pixel.red().min(pixel.green()).min(pixel.blue()) < 200
        };
        let inked = picture.pixels().iter().filter(is_ink).count();
        let share = inked as f64 / picture.pixels().len() as f64;
        assert!((0.005..0.7).contains(&share), "{}: {share}", figure.name);
    }
    // The middle of every cell has the cell's colour.
    let figure = named(&figures, "heads-sparsity_score");
    let picture = Pixmap::decode_png(&figure.png().unwrap()).unwrap();
    let svg = Svg::of(figure);
    let cells = svg.bars.iter().filter(|bar| bar.fill != "#FFFFFF");
    let mut seen = 0;
    for cell in cells {
        let middle = [cell.x + cell.width / 2.0, cell.y + cell.height / 2.0];
        let [x, y] = middle.map(|units| (units / 4.0 * f64::from(PIXEL_RATIO)) as u32);
        let pixel = picture.pixel(x, y).unwrap();
        let found = format!(
            "#{:02X}{:02X}{:02X}",
            pixel.red(),
            pixel.green(),
            pixel.blue()
        );
        assert_eq!(found, cell.fill);
        seen += 1;
    }
    assert_eq!(seen, 4 * 6 + 3 * 5 + 128);
}

#[test]
fn letters_of_many_scripts_are_drawn_and_the_others_are_told() {
    let names = ["aaaa", "гала", "ελλη", "źůñö"];
    let glyphs = |name: &str| {
        let world = World::of(&[Scan::new(name, 2, 5)]);
        let figures = world.draw(&[]);
        let picture = Pixmap::decode_png(&named(&figures, "scatter").png().unwrap()).unwrap();
        (figures.remarks, picture.data().to_vec())
    };
    for name in names {
        let (remarks, _) = glyphs(name);
        assert!(
            !remarks.iter().any(|remark| remark.contains("has no sign")),
            "{remarks:?}"
        );
    }
    // A box for each of the signs that are missing, not nothing.
    let (remarks, boxes) = glyphs("模型");
    let said = remarks
        .iter()
        .find(|remark| remark.contains("has no sign"))
        .unwrap();
    assert!(said.contains('模') && said.contains('型'), "{said}");
    let (_, blank) = glyphs("\u{2003}\u{2003}");
    assert_ne!(boxes, blank);
}

#[test]
fn names_are_escaped() {
    let world = pair();
    for figure in world.draw(&[Metric::SparsityScore]).figures {
        let document = Document::parse(&figure.svg).unwrap();
        let texts: Vec<&str> = document
            .descendants()
            .filter_map(|node| node.text())
            .collect();
        let texts = texts.concat();
        // A character that XML cannot hold leaves a mark.
        assert!(
            texts.contains("модель <&> 模型\u{fffd}"),
            "{}: {texts}",
            figure.name
        );
        let title = document
            .descendants()
            .find(|node| node.has_tag_name("title"))
            .unwrap();
        assert!(title.text().unwrap().len() > 10);
    }
}

#[test]
fn equal_scans_give_equal_bytes() {
    let world = pair();
    let [first, second] = [(), ()].map(|()| world.draw(&Metric::BASE));
    assert_eq!(first.figures.len(), 3 + 2 * Metric::BASE.len());
    for (first, second) in first.figures.iter().zip(&second.figures) {
        assert_eq!(first.svg, second.svg);
        assert_eq!(first.png().unwrap(), second.png().unwrap());
    }
}

#[test]
fn nothing_is_overwritten_and_nothing_is_left_half_written() {
    let world = pair();
    let figures = world.draw(&[Metric::Entropy]);
    let out = world.dir.path().join("deep/out");
    let files = write(&figures, &Format::ALL, &out).unwrap();
    assert_eq!(files.len(), 10);
    let mut found: Vec<PathBuf> = fs::read_dir(&out)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let mut expected = files.clone();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    for (figure, pair) in figures.figures.iter().zip(files.chunks(2)) {
        assert_eq!(fs::read_to_string(&pair[0]).unwrap(), figure.svg);
        assert_eq!(fs::read(&pair[1]).unwrap(), figure.png().unwrap());
    }

    // Any of them in the way is enough.
    for file in &files {
        for other in &files {
            fs::remove_file(other).ok();
        }
        fs::write(file, "mine").unwrap();
        let error = write(&figures, &Format::ALL, &out).unwrap_err();
        assert!(
            matches!(&error, Error::OutDir { path, .. } if path == file),
            "{error}"
        );
        assert_eq!(error.exit_code(), 2);
        let error = refuse_occupied(&out, &[Metric::Entropy], &Format::ALL).unwrap_err();
        assert!(error.to_string().contains("never overwritten"), "{error}");
        assert_eq!(fs::read_to_string(file).unwrap(), "mine");
        assert_eq!(fs::read_dir(&out).unwrap().count(), 1);
    }
    // Other figures are not in the way of these.
    fs::remove_file(files.last().unwrap()).ok();
    fs::write(out.join("heads-sparsity_score.svg"), "mine").unwrap();
    refuse_occupied(&out, &[Metric::Entropy], &Format::ALL).unwrap();

    let file = world.dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = write(&figures, &[Format::Svg], &file).unwrap_err();
    assert!(error.to_string().contains("is a file"), "{error}");
}

#[test]
fn what_cannot_be_drawn_is_refused() {
    let world = pair();
    let request = |scans: Vec<PathBuf>| Request {
        scans,
        ..world.request(&[Metric::SparsityScore])
    };
    let error = draw(&request(Vec::new())).unwrap_err();
    assert!(matches!(error, Error::Usage(_)));

    let other = other_texts(&world);
    let error = draw(&request(vec![world.paths[0].clone(), other.clone()])).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    let said = error.to_string();
    assert!(
        said.contains("max_seq_len") && said.contains("--force"),
        "{said}"
    );

    let bytes = fs::read(&other).unwrap();
    fs::write(&other, &bytes[..bytes.len() / 2]).unwrap();
    let error = draw(&request(vec![other.clone()])).unwrap_err();
    assert!(
        matches!(&error, Error::Parquet { path, .. } if *path == other),
        "{error}"
    );

    let mut broken = Scan::new("broken", 1, 2);
    broken.broken = vec![(0, 0), (0, 1)];
    let broken = World::of(&[broken]);
    let error = draw(&broken.request(&[])).unwrap_err();
    assert!(
        error.to_string().contains("no head has a finite score"),
        "{error}"
    );
}
