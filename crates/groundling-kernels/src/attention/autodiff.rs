//! Gradients of attention and of its weights.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Backend};

use super::{AttentionGrads, AttentionOps, AttentionTerms, BiasGrads};
use crate::maybe::MaybeTensor;

/// Parents: queries, keys, values unless only the weights are wanted, then those biases that are given.
#[derive(Debug, Clone, Copy)]
struct Attention {
    scale: f64,
    given: BiasGrads,
}

impl Attention {
    /// Which gradients of biases are wanted, and the places of their parents after the first `fixed` ones.
    fn wanted<const D: usize, S>(&self, ops: &Ops<S, D>, fixed: usize) -> (BiasGrads, usize, usize) {
        let (pair, key) = (fixed, fixed + usize::from(self.given.pair));
        let tracked = |place: usize| ops.parents.get(place).is_some_and(Option::is_some);
        let wanted = BiasGrads { pair: self.given.pair && tracked(pair), key: self.given.key && tracked(key) };
        (wanted, pair, key)
    }

    fn register<B: Backend, const D: usize, S>(
        &self,
        ops: &Ops<S, D>,
        grads: &mut Gradients,
        computed: AttentionGrads<B>,
        fixed: usize,
    ) {
        let (_, pair, key) = self.wanted(ops, fixed);
        let places = [
            (0, Some(computed.q)),
            (1, Some(computed.k)),
            (2, computed.v.into_option()),
            (pair, computed.pair.into_option()),
            (key, computed.key.into_option()),
        ];
        for (place, grad) in places {
            if let (Some(grad), Some(Some(node))) = (grad, ops.parents.get(place)) {
                grads.register::<B>(node.id, grad);
            }
        }
    }
}

/// The output of attention.
#[derive(Debug, Clone, Copy)]
struct Output(Attention);

/// Queries, keys, values, biases, output and logarithms of sums.
type OutputState<B> = ([FloatTensor<B>; 3], AttentionTerms<B>, FloatTensor<B>, FloatTensor<B>);

impl<B: Backend + AttentionOps, const D: usize> Backward<B, D> for Output {
    type State = OutputState<B>;

    fn backward(self, ops: Ops<Self::State, D>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let ([q, k, v], terms, out, log_sum) = ops.state.clone();
        let (wanted, ..) = self.0.wanted(&ops, 3);
        let computed = B::fused_attention_backward(q, k, v, terms, self.0.scale, out, log_sum, grad, wanted);
        self.0.register(&ops, grads, computed, 3);
    }
}

/// The weights, averaged over heads.
#[derive(Debug, Clone, Copy)]
struct Weights(Attention);

impl<B: Backend + AttentionOps, const D: usize> Backward<B, D> for Weights {
    type State = ([FloatTensor<B>; 2], AttentionTerms<B>);

    fn backward(self, ops: Ops<Self::State, D>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let ([q, k], terms) = ops.state.clone();
        let (wanted, ..) = self.0.wanted(&ops, 2);
        let computed = B::fused_attention_weights_backward(q, k, terms, self.0.scale, grad, wanted);
        self.0.register(&ops, grads, computed, 2);
    }
}

impl<B: Backend + AttentionOps, C: CheckpointStrategy> AttentionOps for Autodiff<B, C> {
    fn fused_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        terms: AttentionTerms<Self>,
        scale: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (terms, given, pair, key) = split::<B, C>(terms);
        let step = Output(Attention { scale, given });
        let (q_node, k_node, v_node) = (q.node(), k.node(), v.node());
        let inputs = [q.into_primitive(), k.into_primitive(), v.into_primitive()];
        match (pair, key) {
            (None, None) => output::<B, C, 3>(step, [q_node, k_node, v_node], inputs, terms),
            (Some(bias), None) | (None, Some(bias)) => {
                output::<B, C, 4>(step, [q_node, k_node, v_node, bias], inputs, terms)
            }
            (Some(pair), Some(key)) => output::<B, C, 5>(step, [q_node, k_node, v_node, pair, key], inputs, terms),
        }
    }

    fn fused_attention_weights(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        terms: AttentionTerms<Self>,
        scale: f64,
    ) -> FloatTensor<Self> {
        let (terms, given, pair, key) = split::<B, C>(terms);
        let step = Weights(Attention { scale, given });
        let (q_node, k_node) = (q.node(), k.node());
        let inputs = [q.into_primitive(), k.into_primitive()];
        match (pair, key) {
            (None, None) => weights::<B, C, 2>(step, [q_node, k_node], inputs, terms),
            (Some(bias), None) | (None, Some(bias)) => weights::<B, C, 3>(step, [q_node, k_node, bias], inputs, terms),
            (Some(pair), Some(key)) => weights::<B, C, 4>(step, [q_node, k_node, pair, key], inputs, terms),
        }
    }
}

/// A tensor of the decorated backend.
type Tracked<B, C> = FloatTensor<Autodiff<B, C>>;

/// The terms without their nodes; which of the two differentiable ones are given, and their nodes. The mask is a constant.
fn split<B: Backend, C: CheckpointStrategy>(
    terms: AttentionTerms<Autodiff<B, C>>,
) -> (AttentionTerms<B>, BiasGrads, Option<NodeGuard>, Option<NodeGuard>) {
    let pair = terms.pair.as_option().map(|pair| pair.node());
    let key = terms.key.as_option().map(|key| key.node());
    let bare = |tensor: MaybeTensor<Autodiff<B, C>>| tensor.into_option().map(|tensor| tensor.into_primitive()).into();
    let given = BiasGrads { pair: pair.is_some(), key: key.is_some() };
    (AttentionTerms { pair: bare(terms.pair), mask: bare(terms.mask), key: bare(terms.key) }, given, pair, key)
}

fn output<B: Backend + AttentionOps, C: CheckpointStrategy, const D: usize>(
    step: Output,
    nodes: [NodeGuard; D],
    inputs: [FloatTensor<B>; 3],
    terms: AttentionTerms<B>,
) -> (Tracked<B, C>, Tracked<B, C>) {
    let [q, k, v] = inputs.clone();
    let (out, log_sum) = B::fused_attention(q, k, v, terms.clone(), step.0.scale);
    let untracked = <Autodiff<B, C> as AutodiffBackend>::from_inner(log_sum.clone());
    let out = match Backward::<B, D>::prepare::<C>(step, nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish((inputs, terms, out.clone(), log_sum), out),
        OpsKind::UnTracked(prep) => prep.finish(out),
    };
    (out, untracked)
}

fn weights<B: Backend + AttentionOps, C: CheckpointStrategy, const D: usize>(
    step: Weights,
    nodes: [NodeGuard; D],
    inputs: [FloatTensor<B>; 2],
    terms: AttentionTerms<B>,
) -> FloatTensor<Autodiff<B, C>> {
    let [q, k] = inputs.clone();
    let map = B::fused_attention_weights(q, k, terms.clone(), step.0.scale);
    match Backward::<B, D>::prepare::<C>(step, nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish((inputs, terms), map),
        OpsKind::UnTracked(prep) => prep.finish(map),
    }
}
