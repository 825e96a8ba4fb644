//! Safetensors files taken apart and put together by hand, so that they can be wrong.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

/// A tensor as a file holds it.
#[derive(Clone)]
pub struct Tensor {
    pub dtype: String,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

/// The tensors of a checkpoint, by name.
pub type Tensors = BTreeMap<String, Tensor>;

/// Reads `model.safetensors` of a checkpoint directory.
pub fn read(dir: &Path) -> Tensors {
    read_file(&dir.join("model.safetensors"))
}

/// Reads a file of tensors.
pub fn read_file(path: &Path) -> Tensors {
    let file = fs::read(path).unwrap();
    let (header, data) = split(&file);
    let tensors = header.as_object().unwrap().iter();
    tensors
        .filter(|(name, _)| *name != "__metadata__")
        .map(|(name, info)| {
            let numbers = |key: &str| -> Vec<usize> {
                let list = info[key].as_array().unwrap().iter();
                list.map(|n| n.as_u64().unwrap() as usize).collect()
            };
            let offsets = numbers("data_offsets");
            let tensor = Tensor {
                dtype: info["dtype"].as_str().unwrap().to_owned(),
                shape: numbers("shape"),
                bytes: data[offsets[0]..offsets[1]].to_vec(),
            };
            (name.clone(), tensor)
        })
        .collect()
}

/// Replaces the weights of a checkpoint directory by these, in one file.
pub fn write(dir: &Path, tensors: &Tensors) {
    fs::write(dir.join("model.safetensors"), file(tensors)).unwrap();
}

/// Replaces the weights of a checkpoint directory by `count` shards and their index; returns their names.
pub fn write_shards(dir: &Path, count: usize) -> Vec<String> {
    let tensors = read(dir);
    let (mut shards, mut weight_map) = (vec![Tensors::new(); count], BTreeMap::new());
    let name = |shard: usize| format!("model-{:05}-of-{count:05}.safetensors", shard + 1);
    for (i, (tensor, content)) in tensors.into_iter().enumerate() {
        weight_map.insert(tensor.clone(), name(i % count));
        shards[i % count].insert(tensor, content);
    }
    for (shard, tensors) in shards.iter().enumerate() {
        fs::write(dir.join(name(shard)), file(tensors)).unwrap();
    }
    write_index(dir, &json!({ "metadata": {}, "weight_map": weight_map }));
    fs::remove_file(dir.join("model.safetensors")).unwrap();
    (0..count).map(name).collect()
}

/// Writes `model.safetensors.index.json`.
pub fn write_index(dir: &Path, index: &Value) {
    fs::write(dir.join("model.safetensors.index.json"), index.to_string()).unwrap();
}

/// A file of these tensors.
pub fn file(tensors: &Tensors) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, tensor) in tensors {
        let start = data.len();
        data.extend(&tensor.bytes);
        header.insert(
            name.clone(),
            json!({ "dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [start, data.len()] }),
        );
    }
    join(&Value::Object(header), &data)
}

/// A file with this header, right or wrong.
pub fn join(header: &Value, data: &[u8]) -> Vec<u8> {
    let header = header.to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

/// A file's header and data.
pub fn split(file: &[u8]) -> (Value, &[u8]) {
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header = serde_json::from_slice(&file[8..8 + length]).unwrap();
    (header, &file[8 + length..])
}

/// Changes the header of `model.safetensors`, and nothing else.
pub fn edit_header(dir: &Path, edit: impl FnOnce(&mut Value)) {
    let path = dir.join("model.safetensors");
    let old = fs::read(&path).unwrap();
    let (mut header, data) = split(&old);
    edit(&mut header);
    fs::write(&path, join(&header, data)).unwrap();
}

/// Changes the tensors of `model.safetensors`.
pub fn edit(dir: &Path, edit: impl FnOnce(&mut Tensors)) {
    let mut tensors = read(dir);
    edit(&mut tensors);
    write(dir, &tensors);
}

/// Changes `config.json`.
pub fn edit_config(dir: &Path, edit: impl FnOnce(&mut serde_json::Map<String, Value>)) {
    let path = dir.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(config.as_object_mut().unwrap());
    fs::write(&path, config.to_string()).unwrap();
}
