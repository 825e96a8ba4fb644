//! Known models that have to be converted before they can be scanned.

use std::{
    io::{self, BufRead, IsTerminal},
    path::PathBuf,
};

use super::{convert, terminal};
use crate::{
    Error, Result,
    convert::{self as conversion, OutputType, Request},
    hub::{Hub, HubSettings, bucket::BucketSettings},
    machine::human,
    manifest::ModelManifest,
    scan::sources::{self, ModelFiles},
};

/// How a conversion is asked for.
pub struct Converter {
    /// Element type of the result; `None` takes what is there, and else float32.
    pub dtype: Option<OutputType>,
    pub bucket: BucketSettings,
    pub quiet: bool,
}

impl Converter {
    /// Converts `model` into the cache, or finds it there.
    pub fn run(&self, model: &ModelManifest) -> Result<PathBuf> {
        let settings = HubSettings::from_env()?;
        let there = match self.dtype {
            Some(dtype) => conversion::cached_as(&settings.assets, &model.name, dtype),
            None => conversion::cached(&settings.assets, &model.name),
        };
        if let Some(dir) = there {
            return Ok(dir);
        }
        if settings.offline {
            return Err(not_there(model, settings));
        }
        let request = self.request(model)?;
        convert::convert(&request, self.quiet)?;
        Ok(request.out)
    }

    /// What `--model` and `--revision` name: on the disk, on the Hub, or converted.
    pub fn model(
        &self,
        argument: &str,
        revision: Option<&str>,
        hub: &dyn Fn() -> Result<Hub>,
        offline: bool,
    ) -> Result<ModelFiles> {
        let converted = |model: &_| self.find_or_offer(model, offline);
        sources::model(argument, revision, hub, &converted)
    }

    /// The conversion of `model` if the cache holds it. If not, it is offered to a person at a terminal, and a
    /// program is told how to get it.
    fn find_or_offer(&self, model: &ModelManifest, offline: bool) -> Result<PathBuf> {
        let settings = HubSettings::from_env()?;
        if let Some(dir) = conversion::cached(&settings.assets, &model.name) {
            return Ok(dir);
        }
        let name = &model.name;
        if offline || settings.offline {
            return Err(not_there(model, settings));
        }
        let request = self.request(model)?;
        let missing = Error::Usage(format!(
            "{name} is not on this machine, and has to be downloaded and converted first: run `attnscope download \
             {name}`, or give a directory or a Hub id with --model"
        ));
        if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
            return Err(missing);
        }
        let plan = conversion::plan(&request)?;
        terminal::say(&format!(
            "{name} is not on this machine. To download: {} from {}. To write: {} ({}) to {}.\nDo it now? [y/N]",
            human(plan.read_bytes),
            plan.checkpoint,
            human(plan.written_bytes),
            plan.torch_dtype,
            request.out.display()
        ));
        let mut answer = String::new();
        io::stdin()
            .lock()
            .read_line(&mut answer)
            .map_err(Error::io("stdin"))?;
        match answer.trim().to_lowercase().as_str() {
            "y" | "yes" => self.run(model),
            _ => Err(missing),
        }
    }

    fn request(&self, model: &ModelManifest) -> Result<Request> {
        let assets = HubSettings::from_env()?.assets;
        let dtype = self.dtype.unwrap_or(OutputType::F32);
        let out = conversion::cache_dir(&assets, &model.name, dtype);
        Request::of_manifest(model, dtype, &out, &self.bucket).ok_or_else(|| {
            Error::Usage(format!(
                "{} is known, but neither where it can be downloaded nor what it is converted from",
                model.name
            ))
        })
    }
}

fn not_there(model: &ModelManifest, settings: HubSettings) -> Error {
    Error::Offline {
        what: format!("the conversion of {}", model.name),
        cache: settings.assets,
    }
}
