//! What several tests share.

pub mod axlearn;
pub mod browser;
pub mod bucket;
pub mod gala;

use std::path::PathBuf;

use candle_core::Device;

/// The directory of reference results, if there is one: `$ATTNSCOPE_ORACLE`, or `../shared/oracle`.
pub fn oracle() -> Option<PathBuf> {
    let dir = std::env::var_os("ATTNSCOPE_ORACLE").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/oracle"),
        PathBuf::from,
    );
    dir.is_dir().then_some(dir)
}

/// `tests/golden/<name>`.
pub fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

/// The CPU, and the accelerators that there are.
pub fn devices() -> Vec<Device> {
    let mut devices = vec![Device::Cpu];
    match Device::cuda_if_available(0) {
        Ok(device) if device.is_cuda() => devices.push(device),
        _ => println!("skipped on CUDA: no CUDA device, or built without `--features cuda`"),
    }
    match Device::new_metal(0) {
        Ok(device) => devices.push(device),
        Err(_) => {
            println!("skipped on Metal: no Metal device, or built without `--features metal`")
        }
    }
    devices
}
