//! What is refused, with which words, before anything is written.

use super::World;
use crate::cli::names;

#[test]
fn bad_values_are_named_with_their_remedy() {
    let world = World::new();
    for (arguments, code, says) in [
        ("logistic --lr 0", 2, "flow: rate: is 0; it must be above 0"),
        ("logistic --lr -0.1", 2, "rate: is -0.1"),
        ("logistic --lr nan", 2, "rate: is NaN"),
        ("logistic --lr fast", 2, "--lr"),
        ("logistic --steps 0", 2, "steps: is 0; take at least one"),
        ("logistic --steps -3", 2, "--steps"),
        ("logistic --dim 0", 2, "dimensions: 0 × 0"),
        ("logistic --dim 3,3", 2, "dim: 3 is there twice"),
        ("logistic --predictions 0", 2, "dimensions: 0 × 8"),
        ("logistic --seed 4294967296", 2, "--seed"),
        (
            "logistic --seed 4294967295 --replicas 2",
            2,
            "take a smaller seed",
        ),
        ("logistic --replicas 0", 2, "--replicas"),
        ("logistic --records 0", 2, "--records"),
        ("logistic --value-scale nan", 2, "values: entry 0 is NaN"),
        ("logistic --score-mean inf", 2, "scores: entry 0 is inf"),
        (
            "square --sigma tanh",
            2,
            "there is no `tanh`; take one of softmax, l1",
        ),
        ("square --sigma softmax,exp", 2, "softmax is there twice"),
        ("square --rows 3", 2, "rows: does not apply to square"),
        (
            "kl --condition-number 2",
            2,
            "condition_number: does not apply to kl",
        ),
        ("tied --samples 2", 2, "samples: does not apply to tied"),
        (
            "tied --predictions 2",
            2,
            "predictions: does not apply to tied",
        ),
        (
            "conditioning --condition-number 0.5",
            2,
            "condition number: is 0.5; the ratio",
        ),
        (
            "conditioning --condition-number -1",
            2,
            "condition number: is -1",
        ),
        ("conditioning --samples 0", 2, "samples: 0 rows"),
        ("rows --rows 0", 2, "rows: 0 rows"),
        ("logistic --time 5", 2, "--time is of --integrator flow"),
        ("logistic --rtol 1e-6", 2, "--rtol is of --integrator flow"),
        ("logistic --device metal", 2, "Metal has no float64"),
        ("kl --device tpu", 2, "--device tpu is none of"),
        ("map --device cuda:99", 2, "--device cuda:99: "),
        (
            "logistic --max-steps 6",
            2,
            "--max-steps is of --integrator flow",
        ),
        (
            "logistic --integrator flow --time 5 --steps 6",
            2,
            "'--time <T>'",
        ),
        ("logistic --integrator flow --time 0", 2, "time: is 0"),
        (
            "logistic --integrator flow --rtol 0",
            2,
            "tolerances: are 0 and",
        ),
        (
            "logistic --integrator flow --atol 0",
            2,
            "tolerances: are 0.000000001 and 0",
        ),
        ("logistic --integrator euler", 2, "gd, flow"),
        (
            "tied --integrator flow --sigma l1 --dim 4",
            2,
            "follow it by gradient descent",
        ),
        (
            "logistic --dim 100000000",
            5,
            "are available: take fewer --replicas",
        ),
        ("logistic --dim 18446744073709551615", 5, "smaller --dim"),
        ("logistic --replicas 4000000000", 5, "fewer --replicas"),
        ("logistic --records 1000000000000", 5, "fewer --records"),
        ("sideways", 2, "sideways"),
        ("map --x dim", 2, "`dim` is no NAME=V1,V2"),
        ("map --x dim=", 2, "an axis needs values"),
        ("map --x depth=1", 2, "there is no `depth`; take one of dim"),
        ("map --x dim=2,2", 2, "2 is there twice"),
        (
            "map --x rate=0 --y dim=2",
            2,
            "condition_number: conditioning has 5",
        ),
        (
            "map --x rate=0 --y dim=2 --condition-number 2",
            2,
            "rate: is 0",
        ),
        (
            "map --x condition_number=0.5 --y dim=2",
            2,
            "condition number: is 0.5",
        ),
        ("map --x dim=2 --y dim=3", 2, "dim is on both axes"),
        ("map --x steps=2 --y time=3", 2, "time and steps both"),
        (
            "map --x time=2 --y dim=3 --integrator gd --condition-number 2",
            2,
            "of gradient descent vary steps",
        ),
        (
            "map --x time=2 --y dim=3 --steps 4",
            2,
            "--steps is varied by the axis time",
        ),
        ("map --dim 3", 2, "--dim is varied by the axis dim"),
        (
            "map --x rows=2 --y dim=3 --condition-number 2",
            2,
            "rows: does not apply to conditioning",
        ),
        ("map --experiment kl", 2, "a map of kl needs --x"),
        ("map --experiment kl --x dim=3", 2, "a map of kl needs --y"),
        (
            "map --experiment square --x dim=3 --y score_scale=1",
            2,
            "sigma: square has 6",
        ),
        ("map --experiment none", 2, "logistic"),
        ("map --quantity loss", 2, "largest_weight, entropy"),
        ("map --replicas 4000000000", 5, "fewer replicas"),
        (
            "map --x dim=1000000000 --y condition_number=1",
            5,
            "smaller dims",
        ),
    ] {
        let words: Vec<&str> = arguments.split(' ').collect();
        let command = [&["flow"], &words[..], &["--out", "d"]].concat();
        world.run(&command).fails(code, &[says]);
        assert!(!world.path("d").exists(), "{arguments}");
    }
}

#[test]
fn nothing_is_overwritten() {
    let world = World::new();
    let run = ["flow", "square", "--steps", "3", "--dim", "2", "--out", "d"];
    world.run(&run).succeeds();
    let before = names(&world.path("d"));
    world.run(&run).fails(
        2,
        &[
            "d/run.json: is there already",
            "never overwritten",
            "choose another --out",
        ],
    );
    // One file of a run that was stopped is enough.
    for name in before.iter().filter(|name| *name != "run.json") {
        let dir = world.path("partly");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(name), "mine").unwrap();
        let arguments = [
            "flow", "square", "--steps", "3", "--dim", "2", "--out", "partly",
        ];
        world.run(&arguments).fails(2, &[name, "is there already"]);
        assert_eq!(names(&dir), [name.as_str()]);
        std::fs::remove_dir_all(&dir).unwrap();
    }
    std::fs::write(world.path("file"), "mine").unwrap();
    let arguments = [
        "flow", "square", "--steps", "3", "--dim", "2", "--out", "file",
    ];
    world.run(&arguments).fails(2, &["file: is a file"]);
    assert_eq!(names(&world.path("d")), before);
    let map = [
        "flow",
        "map",
        "--x",
        "dim=2",
        "--y",
        "condition_number=2",
        "--out",
        "d",
    ];
    world.run(&map).fails(2, &["d/run.json: is there already"]);
}
