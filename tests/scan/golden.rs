//! The whole scan against axlearn's own scores (tests/golden/README.md says where they come from).

use std::{collections::HashMap, fs};

use attnscope::store::read_heads;
use candle_core::{DType, Device, Tensor};

use super::{Fixture, run, word_tokenizer};
use crate::support;

#[test]
fn scores_are_axlearns() {
    for name in ["gala-softmax-h4", "gala-sigmoid-h6"] {
        let case = support::golden(name);
        let expected: HashMap<String, Tensor> =
            candle_core::safetensors::load(case.join("expected.safetensors"), &Device::Cpu)
                .unwrap();
        // `main` and `long` have padded rows, `edge` padding ids before and inside the text.
        for batch in ["main", "edge", "long"] {
            let input_ids: Vec<Vec<i64>> = expected[&format!("{batch}.input_ids")]
                .to_dtype(DType::I64)
                .unwrap()
                .to_vec2()
                .unwrap();
            let texts: Vec<Vec<u32>> = input_ids
                .iter()
                .map(|row| {
                    let end = 1 + row.iter().rposition(|&id| id != 0).unwrap();
                    row[..end].iter().map(|&id| id as u32).collect()
                })
                .collect();
            let fixture = Fixture::of_model(&texts, |dir| {
                crate::convert::convert_case(&case, dir);
                fs::write(dir.join("tokenizer.json"), word_tokenizer(64)).unwrap();
            });
            let outcome = run(&fixture.request("out"));
            let counted = input_ids.iter().flatten().filter(|&&id| id != 0).count();
            assert_eq!(outcome.run.tokens, counted as u64);

            let heads = read_heads(&fixture.out("out")).unwrap();
            let scores: Vec<(&str, Vec<Vec<f64>>)> = [
                "max_proportion",
                "first_proportion",
                "max_weight",
                "total_weight",
            ]
            .into_iter()
            .map(|key| {
                let scores = &expected[&format!("{batch}.score_{key}")];
                (key, scores.to_vec2().unwrap())
            })
            .collect();
            assert_eq!(heads.len(), scores[0].1.iter().flatten().count());
            let mut largest = [0f64; 4];
            for head in &heads {
                let (layer, at) = (head.layer as usize, head.head as usize);
                let means = head.sums.means();
                let found = [
                    means.sparsity_score,
                    means.first_token_share,
                    means.max_weight,
                    means.total_weight,
                ];
                for ((found, (key, scores)), largest) in
                    found.into_iter().zip(&scores).zip(&mut largest)
                {
                    let difference = (found - scores[layer][at]).abs();
                    assert!(
                        difference <= 1e-5,
                        "{name}, {batch}, layer {layer}, head {at}: {key} differs by {difference:.2e}"
                    );
                    *largest = largest.max(difference);
                }
            }
            for ((key, _), largest) in scores.iter().zip(largest) {
                println!("{name:<16} {batch:<5} {key:<16} {largest:.1e}  (bound 1e-5)");
            }
        }
    }
}
