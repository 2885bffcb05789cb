//! Parameters and multiply-accumulates, counted on the module itself: every number comes from the shape of a weight that is there. Systems that
//! take the network as their backbone count from its sizes.

use burn::module::Module;
use groundling_nn::layers::{Convolution, Dense};
use groundling_nn::macs;
use serde::Serialize;

use super::HEAD_WIDTH;
use super::block::Attention;
use super::global::Reduced;
use super::{
    GlobalAttention, Head, HeadKind, LocalAttention, ScalableAttention, ScalableBlock, ScalableVit, ScalableVitConfig,
    TooSmall, ValueWidth, WindowedAttention,
};

/// Parameters by part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ParameterCount {
    /// Patch embeddings with their norms.
    pub patch_embed: u64,
    /// Positional encoding generators.
    pub peg: u64,
    /// Attention within windows.
    pub iwsa: u64,
    /// Global attention.
    pub ssa: u64,
    /// Norms of the blocks.
    pub block_norms: u64,
    /// Feed-forward parts.
    pub mlp: u64,
    /// Norms of the maps, or the one before the head.
    pub tail_norm: u64,
    /// The classifier.
    pub head: u64,
}

impl ParameterCount {
    /// All of them.
    pub fn total(&self) -> u64 {
        let Self { patch_embed, peg, iwsa, ssa, block_norms, mlp, tail_norm, head } = *self;
        patch_embed + peg + iwsa + ssa + block_norms + mlp + tail_norm + head
    }
}

/// Multiply-accumulates of one image by part. Norms, activations, softmax, biases and sums are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct MacCount {
    /// Patch embeddings.
    pub patch_embed: u64,
    /// Positional encoding generators.
    pub peg: u64,
    /// Linear layers of attention within windows.
    pub iwsa_linear: u64,
    /// Local interactive modules.
    pub lim: u64,
    /// Products of queries, keys and values within windows.
    pub iwsa_attn: u64,
    /// Linear layers of global attention.
    pub ssa_linear: u64,
    /// Convolutions of the reduced map.
    pub ssa_conv: u64,
    /// Products of queries, keys and values over the grid.
    pub ssa_attn: u64,
    /// Feed-forward parts.
    pub mlp: u64,
    /// The classifier.
    pub head: u64,
}

impl MacCount {
    /// Convolutions and linear layers: what papers of this family print as FLOPs.
    pub fn conv_linear(&self) -> u64 {
        let Self { patch_embed, peg, iwsa_linear, lim, ssa_linear, ssa_conv, mlp, head, .. } = *self;
        patch_embed + peg + iwsa_linear + lim + ssa_linear + ssa_conv + mlp + head
    }

    /// The products that attention adds.
    pub fn attention_matmul(&self) -> u64 {
        self.iwsa_attn + self.ssa_attn
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.conv_linear() + self.attention_matmul()
    }
}

impl ScalableVit {
    /// Parameters by part.
    pub fn parameter_count(&self) -> ParameterCount {
        let mut count = ParameterCount::default();
        let of = |module: usize| module as u64;
        for stage in &self.stages {
            count.patch_embed += of(stage.patch_embed.num_params());
            count.peg += of(stage.peg.num_params());
            count.tail_norm += of(stage.norm.num_params());
            for block in &stage.blocks {
                count.block_norms += of(block.norm1.num_params() + block.norm2.num_params());
                count.mlp += of(block.mlp.num_params());
                match &block.attn {
                    Some(Attention::Windowed(windowed)) => count.iwsa += of(windowed.num_params()),
                    Some(Attention::Global(global)) => count.ssa += of(global.num_params()),
                    None => {}
                }
            }
        }
        count.tail_norm += of(self.norm.num_params());
        count.head += of(self.head.num_params());
        count
    }

    /// Multiply-accumulates for one image of this size.
    ///
    /// # Errors
    /// If the image is too small for a stage.
    pub fn macs(&self, height: usize, width: usize) -> Result<MacCount, TooSmall> {
        self.config().fits(height, width)?;
        let mut count = MacCount::default();
        let mut grid = [height, width];
        for stage in &self.stages {
            let [_, _, kernel, _] = stage.patch_embed.proj.weight.dims();
            // The kernel is twice the stride less one.
            grid = grid.map(|side| side.div_ceil(kernel.div_ceil(2)));
            count.patch_embed += convolution(&stage.patch_embed.proj, grid);
            count.peg += stage.peg.as_ref().map_or(0, |peg| convolution(&peg.conv, grid));
            stage.blocks.iter().for_each(|block| block.add_macs(grid, &mut count));
        }
        count.head = match &self.head {
            Some(Head::Mlp(head)) => linear(&head.hidden, 1) + linear(&head.out, 1),
            Some(Head::Plain(head)) => linear(head, 1),
            None => 0,
        };
        Ok(count)
    }
}

impl ScalableBlock {
    fn add_macs(&self, grid: [usize; 2], count: &mut MacCount) {
        let tokens = grid[0] * grid[1];
        match &self.attn {
            Some(Attention::Windowed(windowed)) => windowed.add_macs(grid, count),
            Some(Attention::Global(global)) => global.add_macs(grid, count),
            None => {}
        }
        count.mlp += linear(&self.mlp.fc1, tokens) + linear(&self.mlp.fc2, tokens);
    }
}

impl WindowedAttention {
    fn add_macs(&self, grid: [usize; 2], count: &mut MacCount) {
        let padded = self.padded(grid);
        let padded_tokens = padded[0] * padded[1];
        let [dim, _] = self.proj.weight.dims();
        count.iwsa_linear += linear(&self.qkv, padded_tokens) + linear(&self.proj, grid[0] * grid[1]);
        count.lim += self.lim_func.as_ref().map_or(0, |lim| convolution(lim, padded));
        count.iwsa_attn += (2 * padded_tokens * self.window_tokens() * dim) as u64;
    }
}

impl ScalableAttention {
    fn add_macs(&self, grid: [usize; 2], count: &mut MacCount) {
        let tokens = grid[0] * grid[1];
        let reduced = match &self.reduced {
            Some(reduced) => grid.map(|side| side / reduced.cell()),
            None => grid,
        };
        let keys = reduced[0] * reduced[1];
        count.ssa_conv += match &self.reduced {
            Some(Reduced::Separable(separable)) => {
                separable.depthwise.as_ref().map_or(0, |depthwise| convolution(depthwise, reduced))
                    + convolution(&separable.pointwise, reduced)
            }
            Some(Reduced::Full(full)) => convolution(&full.sr, reduced),
            None => 0,
        };
        let of_keys = [&self.kv, &self.k, &self.v].into_iter().flatten().map(|layer| linear(layer, keys));
        count.ssa_linear += linear(&self.q, tokens) + of_keys.sum::<u64>() + linear(&self.proj, tokens);
        let ([_, width], [values, _]) = (self.q.weight.dims(), self.proj.weight.dims());
        count.ssa_attn += (tokens * keys * (width + values)) as u64;
    }
}

impl ScalableVitConfig {
    /// The total of [`ScalableVit::macs`] from the sizes alone, for an image of so many rows and columns. Where an image is too small, what
    /// remains of it is counted; sums stay at the largest number instead of overflowing.
    pub fn macs(&self, [height, width]: [usize; 2]) -> u64 {
        let mut inputs = self.in_channels;
        let last = self.dims[3];
        let mut total = self.head.map_or(0, |head| match head.kind {
            HeadKind::Mlp => macs::sum([macs::dense(1, last, HEAD_WIDTH), macs::dense(1, HEAD_WIDTH, head.classes)]),
            HeadKind::Plain => macs::dense(1, last, head.classes),
        });
        for (stage, grid) in self.grids(height, width).into_iter().enumerate() {
            total = macs::sum([total, self.stage_macs(stage, inputs, grid)]);
            inputs = self.dims[stage];
        }
        total
    }

    fn stage_macs(&self, stage: usize, inputs: usize, grid: [usize; 2]) -> u64 {
        let (tokens, dim) = (grid[0] * grid[1], self.dims[stage]);
        let kernel = 2 * self.strides[stage] - 1;
        let hidden = (dim as f64 * self.mlp_ratios[stage]) as usize;
        let windowed = (0..self.depths[stage]).filter(|&index| self.order.is_windowed(index)).count() as u64;
        let [blocks, global] = [self.depths[stage] as u64, self.depths[stage] as u64 - windowed];
        macs::sum([
            macs::dense(tokens, inputs * kernel * kernel, dim),
            if self.peg { macs::dense(tokens, 9, dim) } else { 0 },
            macs::dense(tokens, dim, 2 * hidden).saturating_mul(blocks),
            self.windowed_macs(grid, dim).saturating_mul(windowed),
            self.global_macs(stage, grid).saturating_mul(global),
        ])
    }

    fn windowed_macs(&self, grid: [usize; 2], dim: usize) -> u64 {
        let [tokens, padded] = [grid, grid.map(|side| side.next_multiple_of(self.window))].map(|[a, b]| a * b);
        let linear = macs::sum([macs::dense(padded, dim, 3 * dim), macs::dense(tokens, dim, dim)]);
        let lim = macs::dense(padded, 9, dim);
        let products = macs::attention(padded, self.window * self.window, dim);
        match self.local {
            LocalAttention::Iwsa | LocalAttention::WsaLem => macs::sum([linear, lim, products]),
            LocalAttention::Wsa => macs::sum([linear, products]),
            LocalAttention::LimOnly => macs::sum([linear, lim]),
            LocalAttention::None => 0,
        }
    }

    fn global_macs(&self, stage: usize, grid: [usize; 2]) -> u64 {
        let (tokens, dim, width) = (grid[0] * grid[1], self.dims[stage], self.scaled(stage));
        let cell = if self.global == GlobalAttention::Vanilla { 1 } else { self.reductions[stage] };
        let keys = grid.map(|side| side / cell).iter().product();
        let apart = self.global == GlobalAttention::Ssa && self.value == ValueWidth::Input;
        let values = if cell > 1 && apart { dim } else { width };
        let reduced = match self.global {
            _ if cell == 1 => 0,
            GlobalAttention::Sra => macs::dense(keys, dim * cell * cell, dim),
            GlobalAttention::SsaPool => macs::dense(keys, dim, width),
            _ => macs::sum([macs::dense(keys, cell * cell, dim), macs::dense(keys, dim, width)]),
        };
        macs::sum([
            reduced,
            macs::dense(tokens, dim, width),
            macs::dense(keys, width, width),
            macs::dense(keys, width, values),
            macs::dense(tokens, values, dim),
            macs::dense(tokens, keys, width),
            macs::dense(tokens, keys, values),
        ])
    }
}

/// Of a linear layer over so many tokens.
fn linear(layer: &Dense, tokens: usize) -> u64 {
    let [inputs, outputs] = layer.weight.dims();
    (tokens * inputs * outputs) as u64
}

/// Of a convolution that gives a map of this size.
fn convolution(layer: &Convolution, [height, width]: [usize; 2]) -> u64 {
    let [outputs, inputs, rows, columns] = layer.weight.dims();
    (height * width * outputs * inputs * rows * columns) as u64
}
