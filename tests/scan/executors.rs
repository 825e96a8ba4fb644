//! One scan, whatever the executor, the size of a batch and the types on disk and in memory.

use std::fs;

use attnscope::scan::plan::Memory;
use candle_core::{DType, Device};

use super::{
    FUNCTIONS, Fixture, SMALL, assert_close, batch_size, largest_differences, print_differences,
    random_texts, scan_rows, word_tokenizer,
};
use crate::gala::generator::{AttentionFunction, Dtype, GalaConfig, write_checkpoint};

/// From one token to more than `max_seq_len`; two texts are empty.
const LENGTHS: [usize; 16] = [1, 2, 3, 17, 64, 65, 130, 255, 256, 40, 0, 9, 300, 1, 0, 90];

const BOTH: [(Memory, &str); 2] = [
    (Memory::Resident, "resident"),
    (Memory::Streamed, "streamed"),
];

#[test]
fn executors_and_batch_sizes_agree() {
    for function in FUNCTIONS {
        let texts = random_texts(&LENGTHS, SMALL[4]);
        let fixture = Fixture::new(function, SMALL, &texts);
        let expected = scan_rows(&fixture.request("expected"));
        assert_eq!(expected.len(), 14 * SMALL[0] * SMALL[2]);
        for size in [None, Some(1), Some(3), Some(100)] {
            let [resident, streamed] = BOTH.map(|(memory, name)| {
                let mut request = fixture.request(&format!("{name}-{size:?}"));
                request.memory = memory;
                request.batch_size = size.and_then(batch_size);
                scan_rows(&request)
            });
            // The same products of the same matrices: not a bit of difference.
            assert!(resident == streamed, "{function}, {size:?}");
            let case = format!("{function}, batches of {size:?}");
            assert_close(&case, &resident, &expected, 1e-6);
        }
    }
}

/// A checkpoint in bfloat16, and the same numbers in float32: the same scan.
#[test]
fn the_type_on_disk_does_not_matter() {
    let texts = random_texts(&LENGTHS, SMALL[4]);
    let config = GalaConfig::new(AttentionFunction::Sigmoid, SMALL);
    let half = Fixture::of_model(&texts, |dir| {
        let tokenizer = word_tokenizer(config.vocab_size);
        write_checkpoint(dir, &config, Dtype::Bf16, 7, u64::MAX, &tokenizer).unwrap();
    });
    let single = Fixture::of_model(&texts, |dir| {
        fs::create_dir(dir).unwrap();
        for name in ["config.json", "tokenizer.json"] {
            fs::copy(half.model.join(name), dir.join(name)).unwrap();
        }
        let mut tensors =
            candle_core::safetensors::load(half.model.join("model.safetensors"), &Device::Cpu)
                .unwrap();
        for tensor in tensors.values_mut() {
            assert_eq!(tensor.dtype(), DType::BF16);
            *tensor = tensor.to_dtype(DType::F32).unwrap();
        }
        candle_core::safetensors::save(&tensors, dir.join("model.safetensors")).unwrap();
    });
    let [half, single] = [half, single].map(|fixture| scan_rows(&fixture.request("out")));
    assert!(half == single);
}

/// Computing in half precision moves the means by what its eight or eleven bits allow, and no more.
#[test]
fn half_types_stay_near() {
    for function in FUNCTIONS {
        let texts = random_texts(&LENGTHS, SMALL[4]);
        let fixture = Fixture::new(function, SMALL, &texts);
        let expected = scan_rows(&fixture.request("expected"));
        for (dtype, bound) in [(DType::BF16, 0.2), (DType::F16, 0.03)] {
            let [resident, streamed] = BOTH.map(|(memory, name)| {
                let mut request = fixture.request(&format!("{name}-{dtype:?}"));
                request.memory = memory;
                request.dtype = dtype;
                scan_rows(&request)
            });
            assert!(resident == streamed, "{function}, {dtype:?}");
            let largest = largest_differences(&resident, &expected);
            print_differences(&format!("{function}, {dtype:?} against float32"), &largest);
            assert!(largest.iter().any(|&difference| difference > 0.0));
            for (column, difference) in super::COLUMNS.iter().zip(largest) {
                assert!(
                    difference <= bound,
                    "{function}, {dtype:?}: {column} differs by {difference:.3e}"
                );
            }
        }
    }
}
