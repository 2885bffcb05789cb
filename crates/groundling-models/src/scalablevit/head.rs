//! The classifier's head.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use groundling_kernels::gelu;
use groundling_nn::layers::{Dense, PrepareInference, TokenNorm};

use super::{EPSILON, HEAD_WIDTH, HeadConfig, HeadKind, dense};

/// From a pooled vector to classes.
// There are a few of them, and burn's modules cannot be boxed.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
pub enum Head {
    /// With a hidden layer.
    Mlp(MlpHead),
    /// One layer.
    Plain(Dense),
}

/// A hidden layer of 4096 with norm and GELU, then classes.
#[derive(Module, Debug)]
pub struct MlpHead {
    /// `C_4` to 4096.
    pub hidden: Dense,
    /// Over 4096.
    pub norm: TokenNorm,
    /// 4096 to classes.
    pub out: Dense,
}

impl Head {
    pub(super) fn new(config: HeadConfig, inputs: usize, device: &Device) -> Self {
        match config.kind {
            HeadKind::Plain => Self::Plain(dense(inputs, config.classes, device)),
            HeadKind::Mlp => Self::Mlp(MlpHead {
                hidden: dense(inputs, HEAD_WIDTH, device),
                norm: TokenNorm::new(HEAD_WIDTH, EPSILON, device),
                out: dense(HEAD_WIDTH, config.classes, device),
            }),
        }
    }

    /// `[B, C_4]` to `[B, classes]`.
    pub fn forward(&self, pooled: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Mlp(head) => head.out.forward(gelu(head.norm.forward(head.hidden.forward(pooled)))),
            Self::Plain(head) => head.forward(pooled),
        }
    }
}

impl PrepareInference for Head {
    fn prepare_inference(&mut self) {
        match self {
            Self::Mlp(head) => {
                head.hidden.prepare_inference();
                head.out.prepare_inference();
            }
            Self::Plain(head) => head.prepare_inference(),
        }
    }
}
