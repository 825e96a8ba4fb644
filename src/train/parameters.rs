//! The variables of a model.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var, bail};

use crate::{
    Result,
    models::small_transformer::{Config, Initial, Network, Source},
    random::NumpyRandom,
};

/// All tensors of a small transformer, as variables.
#[derive(Debug, Clone)]
pub struct Parameters {
    config: Config,
    variables: BTreeMap<String, Var>,
}

impl Parameters {
    /// Takes the tensors from `source`: those of a checkpoint, for instance.
    ///
    /// # Errors
    /// Those of `source`, and of a configuration that is no model.
    pub fn new(config: Config, source: Source) -> Result<Self> {
        config.check("config.json".as_ref())?;
        let mut variables = BTreeMap::new();
        for parameter in config.parameters() {
            let tensor = source(&parameter.spec.name, &parameter.spec.shape)?;
            variables.insert(parameter.spec.name, Var::from_tensor(&tensor)?);
        }
        Ok(Self { config, variables })
    }

    /// PyTorch's initialisation: uniform between ±1/√in for weights and biases of linear layers, standard normal for
    /// embeddings, 1 and 0 for norms. The numbers are drawn tensor by tensor in the order of [`Config::parameters`].
    ///
    /// # Errors
    /// A configuration that is no model, or an element type that is neither float32 nor float64.
    pub fn random(
        config: Config,
        random: &mut NumpyRandom,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        config.check("config.json".as_ref())?;
        let mut variables = BTreeMap::new();
        for parameter in config.parameters() {
            let count: usize = parameter.spec.shape.iter().product();
            let entries: Vec<f64> = (0..count)
                .map(|_| match parameter.initial {
                    Initial::Normal => random.randn(),
                    Initial::Uniform { bound } => bound * (2.0 * random.rand() - 1.0),
                    Initial::Constant(value) => value,
                })
                .collect();
            let tensor = Tensor::from_vec(entries, parameter.spec.shape, device)?;
            let variable = Var::from_tensor(&tensor.to_dtype(dtype)?)?;
            variables.insert(parameter.spec.name, variable);
        }
        Ok(Self { config, variables })
    }

    /// What they are the parameters of.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// By name.
    pub fn variables(&self) -> &BTreeMap<String, Var> {
        &self.variables
    }

    /// The network made of the variables: gradients flow, and it changes with them.
    ///
    /// # Errors
    /// None but those of the tensor library.
    pub fn network(&self) -> Result<Network> {
        self.network_of(|variable| variable.as_tensor().clone())
    }

    /// The same network without gradients, for evaluation: it changes with the variables, too.
    ///
    /// # Errors
    /// None but those of the tensor library.
    pub fn frozen_network(&self) -> Result<Network> {
        self.network_of(|variable| variable.as_tensor().detach())
    }

    fn network_of(&self, tensor: impl Fn(&Var) -> Tensor) -> Result<Network> {
        let source = |name: &str, shape: &[usize]| -> Result<Tensor> {
            let find = || match self.variables.get(name) {
                Some(variable) if variable.dims() == shape => Ok(tensor(variable)),
                Some(variable) => {
                    bail!(
                        "{name}: expected shape {shape:?}, found {:?}",
                        variable.dims()
                    )
                }
                None => bail!("there is no parameter {name}"),
            };
            Ok(find()?)
        };
        Network::new(&self.config, &source)
    }
}
