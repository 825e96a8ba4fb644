//! Samples much longer than a block of keys, and longer than the model's training length.

use attnscope::scan::plan::Memory;

use super::{
    FUNCTIONS, Fixture, assert_close, batch_size, float64, random_texts, rows, run, scan_rows,
};

#[test]
fn long_samples() {
    const MAX_SEQ_LEN: usize = 4200;
    let mut texts = random_texts(&[700, 5000, 30, 513, 1300], 64);
    for function in FUNCTIONS {
        let fixture = Fixture::new(function, [2, 16, 2, 32, 64], &texts);
        let mut request = fixture.request("resident");
        request.max_seq_len = MAX_SEQ_LEN;
        let outcome = run(&request);
        // The longest sample fills a batch of its own.
        let batches = outcome.run.batch_plan.unwrap();
        assert_eq!((batches.samples, batches.tokens), (4, MAX_SEQ_LEN as u64));
        let resident = rows(&request.out);

        request.memory = Memory::Streamed;
        request.batch_size = batch_size(2);
        request.out = fixture.out("streamed");
        let case = format!("{function}, streamed in batches of 2");
        assert_close(&case, &scan_rows(&request), &resident, 1e-6);

        for text in &mut texts {
            text.truncate(MAX_SEQ_LEN);
        }
        let samples: Vec<(i64, Vec<u32>)> = (0..).zip(texts.clone()).collect();
        let expected = float64::Model::open(&fixture.model).sample_rows(&samples);
        let case = format!("{function}, against float64");
        assert_close(&case, &resident, &expected, 1e-5);
    }
}
