//! The page: its data, and the files beside this one that show it.

use serde_json::{Value, json};

use super::{Request, pictures::Finished, text::Prepared};
use crate::{
    Result,
    corpus::Preprocessing,
    metrics::HeadMeans,
    models::DecoderModel,
    page::{Array, Page},
};

const BODY: &str = include_str!("inspect.html");
const STYLE: &str = include_str!("inspect.css");
/// One program, in this order.
const SCRIPTS: [&str; 5] = [
    include_str!("facts.js"),
    include_str!("weights.js"),
    include_str!("picker.js"),
    include_str!("map.js"),
    include_str!("text.js"),
];

/// Bytes that the numbers of a head take on the page.
const BYTES_PER_HEAD: u64 = 100;

/// What there is to say, whatever the maps are.
pub struct Facts<'a> {
    pub request: &'a Request,
    pub model: &'a dyn DecoderModel,
    pub text: &'a Prepared,
    pub weights_fingerprint: String,
    pub text_sha256: String,
    /// Which layers were looked at.
    pub layers: &'a [usize],
    /// Which heads of each of them.
    pub heads: &'a [usize],
}

/// Bytes of the page but for the pictures.
pub fn bytes_without_pictures(facts: &Facts) -> Result<u64> {
    let empty = Finished {
        block: 1,
        heads: Vec::new(),
        overviews: Vec::new(),
        exact: Vec::new(),
        top: 0,
        tops: Vec::new(),
        whole_page_bytes: 0,
    };
    let heads = (facts.layers.len() * facts.heads.len()) as u64;
    Ok(page(facts, &empty)?.to_html().len() as u64 + BYTES_PER_HEAD * heads)
}

/// The page.
pub fn page(facts: &Facts, pictures: &Finished) -> Result<Page> {
    let title = format!("Attention of {}", facts.request.model.name);
    let mut page = Page::new(title).body(BODY).style(STYLE).charts();
    page = page.data("facts", &data(facts, pictures))?;
    for (layer, overview) in &pictures.overviews {
        page = page.data(format!("overview-{layer}"), overview)?;
    }
    for (layer, head, exact) in &pictures.exact {
        page = page.data(format!("exact-{layer}-{head}"), exact)?;
    }
    for (layer, head, top) in &pictures.tops {
        page = page.data(format!("top-{layer}-{head}"), top)?;
    }
    for script in SCRIPTS {
        page = page.script(script);
    }
    Ok(page)
}

fn data(facts: &Facts, pictures: &Finished) -> Value {
    let Facts {
        request,
        model,
        text,
        ..
    } = facts;
    let sizes = model.sizes();
    let means = |of: fn(&HeadMeans) -> f64| {
        let means = pictures.heads.iter().map(|head| of(&head.sums.means()));
        Array::new(&means.collect::<Vec<f64>>())
    };
    let non_finite_rows = pictures.heads.iter().map(|head| head.sums.non_finite_rows);
    let largest = pictures.heads.iter().map(|head| head.largest);
    let exact = pictures.heads.iter().map(|head| u8::from(head.is_exact));
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "model": {
            "name": request.model.name,
            "repo": request.model.repo,
            "revision": request.model.revision,
            "model_type": model.model_type(),
            "attention_function": model.attention_function(),
            "num_hidden_layers": sizes.num_hidden_layers,
            "num_attention_heads": sizes.num_attention_heads,
            "weights_fingerprint": facts.weights_fingerprint,
        },
        "dtype": request.dtype.as_str(),
        "device": request.device_name,
        "text": {
            "file": request.text.path.as_ref().map(|path| path.display().to_string()),
            "sha256": facts.text_sha256,
            "uncut": text.tokens.uncut,
            "max_seq_len": request.max_seq_len.get(),
            "special_tokens": text.special_tokens,
            "preprocessing": (text.preprocessing != Preprocessing::default())
                .then(|| json!(text.preprocessing)),
        },
        "tokens": text.tokens.labels,
        "input_ids": Array::new(&text.tokens.input_ids),
        "layers": facts.layers,
        "heads": facts.heads,
        "numbers": {
            "sparsity_score": means(|means| means.sparsity_score),
            "first_token_share": means(|means| means.first_token_share),
            "max_weight": means(|means| means.max_weight),
            "total_weight": means(|means| means.total_weight),
            "entropy": means(|means| means.entropy),
        },
        "non_finite_rows": Array::new(&non_finite_rows.map(|rows| rows as f64).collect::<Vec<_>>()),
        "largest": Array::new(&largest.collect::<Vec<_>>()),
        "exact": Array::new(&exact.collect::<Vec<_>>()),
        "block": pictures.block,
        "top": pictures.top,
        "command": request.command,
        "max_page_bytes": request.max_page_bytes,
        "whole_page_bytes": pictures.whole_page_bytes,
    })
}
