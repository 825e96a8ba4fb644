//! Which device computes, and in which element type.

use candle_core::{DType, Device};

use crate::{Error, Result};

/// `--device auto|cpu|cuda:N|metal`: the device, and its name for the record.
///
/// `auto` takes CUDA, then Metal, if this binary was built with them and finds one; the CPU otherwise.
///
/// # Errors
/// [`Error::Usage`] for another word, or for a device that is not there.
pub fn open(argument: &str) -> Result<(Device, String)> {
    let absent = |error: candle_core::Error| {
        Error::Usage(format!(
            "--device {argument}: {error}; use --device cpu, or a binary built with the feature for this device"
        ))
    };
    match argument {
        "auto" => {
            if let Ok(device) = Device::new_cuda(0) {
                return Ok((device, "cuda:0".into()));
            }
            if let Ok(device) = Device::new_metal(0) {
                return Ok((device, "metal".into()));
            }
            Ok((Device::Cpu, "cpu".into()))
        }
        "cpu" => Ok((Device::Cpu, "cpu".into())),
        "metal" => Ok((Device::new_metal(0).map_err(absent)?, "metal".into())),
        other => {
            let ordinal = match other.split_once(':') {
                None if other == "cuda" => Some(0),
                Some(("cuda", ordinal)) => ordinal.parse::<usize>().ok(),
                _ => None,
            };
            let Some(ordinal) = ordinal else {
                return Err(Error::Usage(format!(
                    "--device {other} is none of auto, cpu, cuda:N, metal"
                )));
            };
            Ok((
                Device::new_cuda(ordinal).map_err(absent)?,
                format!("cuda:{ordinal}"),
            ))
        }
    }
}

/// `--dtype auto|f32|bf16|f16`. `auto` is float32 on every device: it is what the paper's numbers were computed
/// in, and the half types move scores by 1e-3 to 1e-2.
///
/// # Errors
/// [`Error::Usage`] for another word.
pub fn dtype(argument: &str) -> Result<DType> {
    match argument {
        "auto" | "f32" => Ok(DType::F32),
        "bf16" => Ok(DType::BF16),
        "f16" => Ok(DType::F16),
        other => Err(Error::Usage(format!(
            "--dtype {other} is none of auto, f32, bf16, f16"
        ))),
    }
}
