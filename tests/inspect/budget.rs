//! What a page leaves out to stay small, and that it says so.

use std::fs;

use attnscope::inspect::Request;

use serde_json::Value;

use super::{PageFile, bits, bytes, request, row, run, side, table, unpacked, words};
use crate::cli::{World, names, text};
use crate::support::gala;

const MIB: u64 = 1 << 20;

/// The page's largest weights: distance of the key, and bits of the weight.
fn largest(top: &Value) -> Vec<(u32, u32)> {
    let distances = bytes(&top["distances"]);
    assert_eq!(top["distances"]["type"], "u16");
    let (distances, _) = distances.as_chunks::<2>();
    let distances = distances.iter().map(|b| u32::from(u16::from_le_bytes(*b)));
    distances.zip(bits(&unpacked(&top["weights"]))).collect()
}

/// The same from the table, by sorting every row.
fn expected(weights: &[f32], k: usize) -> Vec<(u32, u32)> {
    let mut all = Vec::new();
    for query in 0..side(weights) {
        let row = row(weights, query);
        let mut keys: Vec<usize> = (0..=query).collect();
        keys.sort_by(|&a, &b| row[b].partial_cmp(&row[a]).unwrap());
        let entry = |&key: &usize| ((query - key) as u32, row[key].to_bits());
        all.extend(keys[..k.min(query + 1)].iter().map(entry));
    }
    all
}

/// Whatever the limit, a page keeps to it, has an overview of every head, and exact weights of the sparsest.
#[test]
fn a_page_keeps_to_its_limit() {
    let dir = tempfile::tempdir().unwrap();
    let model = &gala::write_to(dir.path()).models[0];
    let text = words(600);
    let mut exact_before = 0;
    for mib in [6, 10, 14, 400] {
        let out = dir.path().join(mib.to_string());
        fs::create_dir(&out).unwrap();
        let outcome = run(&Request {
            max_page_bytes: mib * MIB,
            ..request(model, &text, &out)
        });
        assert!(outcome.tokens > 512 && outcome.block > 1);
        assert!(
            outcome.page_bytes <= mib * MIB,
            "{} bytes",
            outcome.page_bytes
        );
        let page = PageFile::open(&out.join("page.html"));
        let table = table(&out.join("weights.parquet"));
        let mut scores: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
        for (head, found) in outcome.heads.iter().zip(&table) {
            let exact = page.exact(head.layer, head.head);
            assert_eq!(exact.is_some(), head.is_exact);
            if let Some(exact) = &exact {
                assert_eq!(bits(exact), bits(&found.weights));
            }
            // Of the others the largest weights of every query, if there is room for one.
            let top = page.data(&format!("top-{}-{}", head.layer, head.head));
            assert_eq!(top.is_some(), !head.is_exact && outcome.top > 0);
            if let Some(top) = top {
                assert_eq!(largest(&top), expected(&found.weights, outcome.top));
            }
            scores[usize::from(head.is_exact)].push(head.sums.means().sparsity_score);
            assert!(!page.overviews(head.layer)[head.head].is_empty());
        }
        let [left_out, exact] = scores;
        println!(
            "{mib} MiB: {} of {} heads exact, n = {}, top {}",
            exact.len(),
            table.len(),
            outcome.block,
            outcome.top
        );
        assert!(outcome.top > 0, "all of these have room for one");
        let sparsest = left_out.iter().copied().fold(f64::MIN, f64::max);
        assert!(exact.iter().all(|score| *score >= sparsest));
        assert!(exact.len() >= exact_before);
        exact_before = exact.len();
        match mib {
            6 => assert!(left_out.len() > 12),
            400 => {
                assert!(left_out.is_empty());
                assert!(outcome.page_bytes <= outcome.whole_page_bytes);
            }
            _ => assert!(!left_out.is_empty()),
        }
        // The limit that is recommended for all of them suffices.
        assert!(outcome.whole_page_bytes < 400 * MIB);
    }
}

#[test]
fn what_is_left_out_is_said_with_the_command_that_shows_it() {
    let world = World::new();
    let long = world.path("long.txt");
    fs::write(&long, words(600)).unwrap();
    let arguments = |out| {
        [
            "inspect",
            "--model",
            text(world.model()),
            "--file",
            text(&long),
            "--out",
            out,
        ]
    };
    let mut small = arguments("small.html").to_vec();
    small.extend(["--max-page-mib", "10"]);
    let finished = world.run(&small).succeeds();
    let heads = world.run(
        &[
            &small[..6],
            &["json.html", "--max-page-mib", "10", "--json"],
        ]
        .concat(),
    );
    let heads = heads.succeeds().json();
    let heads = heads["heads"].as_array().unwrap();
    let left_out = heads.iter().find(|head| head["exact"] == false).unwrap();
    let (layer, head) = (&left_out["layer"], &left_out["head"]);
    let command = format!(
        "attnscope inspect --model {} --file {} --max-seq-len 2048 --layers {layer} --heads {head} --out",
        text(world.model()),
        text(&long)
    );
    assert!(finished.stderr.contains(&command), "{finished}");
    let exact = heads.iter().filter(|head| head["exact"] == true).count();
    let said = format!("exact weights of the {exact} sparsest of 24 heads");
    assert!(finished.stderr.contains(&said), "{finished}");

    // And it does show it.
    let (layer, head) = (layer.to_string(), head.to_string());
    let mut one = arguments("one.html").to_vec();
    one.extend(["--layers", &layer, "--heads", &head, "--json"]);
    let one = world.run(&one).succeeds().json();
    assert_eq!(one["heads"].as_array().unwrap().len(), 1);
    assert_eq!(one["heads"][0]["exact"], true);
    assert_eq!(
        one["heads"][0]["sparsity_score"],
        left_out["sparsity_score"]
    );

    // So does the page size that is recommended.
    let recommended = finished.stderr.split("--max-page-mib ").nth(1).unwrap();
    let recommended = recommended.split_whitespace().next().unwrap();
    let mut all = arguments("all.html").to_vec();
    all.extend(["--max-page-mib", recommended]);
    let all = world.run(&all).succeeds();
    assert!(!all.stderr.contains("sparsest of"), "{all}");
}

/// A map of 300,000 tokens has 360 GB.
#[test]
fn a_text_whose_maps_fit_nowhere_is_refused() {
    let world = World::new();
    let long = world.path("long.txt");
    fs::write(&long, "a\n".repeat(150_000)).unwrap();
    let before = names(&world.path("."));
    let arguments = [
        "--model",
        text(world.model()),
        "--file",
        text(&long),
        "--max-seq-len",
        "300000",
    ];
    world
        .run(&[&["inspect"], &arguments[..]].concat())
        .fails(5, &["300000 tokens", "--max-seq-len", "available"]);
    assert_eq!(names(&world.path(".")), before);
}
