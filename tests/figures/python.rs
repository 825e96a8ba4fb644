//! `examples/python/read_scan.py` reads what a scan writes. Skipped where pandas, polars, pyarrow or matplotlib is not
//! installed; `ATTNSCOPE_PYTHON` names the interpreter (default: `python3`).

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{Scan, World};

#[test]
fn the_example_reads_the_numbers_that_are_there() {
    let python = std::env::var("ATTNSCOPE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let packages = "import pandas, polars, pyarrow, matplotlib";
    let probe = Command::new(&python).args(["-c", packages]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        println!("skipped: {python} has not all of pandas, polars, pyarrow and matplotlib");
        return;
    }
    let world = World::of(&[Scan::new("a", 6, 8), Scan::new("b", 3, 5)]);
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/python/read_scan.py");
    let picture = world.dir.path().join("histogram.png");
    let output = Command::new(&python)
        .arg(script)
        .args(&world.paths)
        .arg(&picture)
        .env("MPLCONFIGDIR", world.dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(fs::read(&picture).unwrap().starts_with(b"\x89PNG"));

    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 6, "{said}");
    for (scan, lines) in lines.chunks(3).enumerate() {
        let scores = world.scores(scan, "sparsity_score");
        let mean = scores.iter().sum::<f64>() / scores.len() as f64;
        for (line, reader) in lines.iter().zip(["with_pandas", "with_polars"]) {
            let start = format!(
                "{reader} {scan}: {} heads, 1 samples, mean sparsity score ",
                scores.len()
            );
            let numbers = line
                .strip_prefix(&start)
                .unwrap_or_else(|| panic!("{line}"));
            let numbers: Vec<f64> = numbers
                .split(", from the samples ")
                .map(|number| number.parse().unwrap())
                .collect();
            assert_eq!(numbers.len(), 2);
            for number in numbers {
                assert!((number - mean).abs() < 1e-12, "{line}: {mean}");
            }
        }
        let mut counts = [0; 20];
        for score in scores {
            counts[((score * 20.0) as usize).min(19)] += 1;
        }
        assert_eq!(lines[2], format!("histogram {scan}: {counts:?}"));
    }
}
