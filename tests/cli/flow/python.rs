//! pandas and polars read the tables as the README says. Skipped where they are not installed; `ATTNSCOPE_PYTHON` names
//! the interpreter (default: `python3`).

use std::process::Command;

use super::World;

const SCRIPT: &str = r#"
import sys
import pandas as pd
import polars as pl

dir, number = sys.argv[1], float(sys.argv[2])

df = pd.read_parquet(f"{dir}/trajectories.parquet")
weights = df[(df.quantity == "weight") & (df.condition_number == number)]
wide = weights.pivot(index="time", columns="coordinate", values="value")
assert wide.shape[1] == 4 and not wide.isna().any().any(), wide
assert (abs(wide.sum(axis=1) - 1) < 1e-12).all()
loss = df[df.quantity == "loss"].pivot(index="time", columns="condition_number", values="value")
assert list(loss.columns) == [2.0, 3.5] and len(loss) == len(wide)

lf = pl.scan_parquet(f"{dir}/trajectories.parquet")
frame = (
    lf.filter(pl.col("quantity") == "weight", pl.col("condition_number") == number)
    .collect()
    .pivot(on="coordinate", index="time", values="value")
)
assert frame.width == 5 and frame.null_count().sum_horizontal().item() == 0
assert frame["3"].to_list() == wide[3].to_list()

summary = pl.read_parquet(f"{dir}/summary.parquet")
assert summary.height == 2 and summary["failure"].null_count() == 2
last = wide.iloc[-1]
row = summary.filter(pl.col("condition_number") == number)
assert row["largest_weight"].item() == last.max()
assert row["coordinate"].item() == last.idxmax()

grid = pd.read_parquet(f"{dir}-map/map.parquet").pivot(index="y", columns="x", values="mean")
assert grid.shape == (2, 3), grid
print("read")
"#;

#[test]
fn pandas_and_polars_read_the_tables() {
    let python = std::env::var("ATTNSCOPE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let packages = "import pandas, polars, pyarrow";
    let probe = Command::new(&python).args(["-c", packages]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        println!("skipped: {python} has not all of pandas, polars and pyarrow");
        return;
    }
    let world = World::new();
    let run = [
        "--dim",
        "4",
        "--condition-number",
        "2,3.5",
        "--steps",
        "100",
    ];
    world
        .run(&[&["flow", "conditioning", "--out", "d"], &run[..]].concat())
        .succeeds();
    let map = [
        "--x",
        "condition_number=1,2,3",
        "--y",
        "dim=3,4",
        "--time",
        "1",
    ];
    world
        .run(
            &[
                &["flow", "map", "--replicas", "2", "--out", "d-map"],
                &map[..],
            ]
            .concat(),
        )
        .succeeds();
    let output = Command::new(&python)
        .args(["-c", SCRIPT])
        .arg(world.path("d"))
        .arg("3.5")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout), "read\n");
}
