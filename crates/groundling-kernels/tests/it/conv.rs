//! The fused convolution against burn's, value and gradients.

use burn::tensor::module::conv2d as burn_conv2d;
use burn::tensor::ops::ConvOptions as BurnOptions;
use burn::tensor::{DType, Tensor, activation};
use groundling_kernels::{ConvEpilogue, ConvOptions, PackedConv, conv2d};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::support::{assert_near, cpu, tensor, tracked};

fn composed(x: Tensor<4>, weight: Tensor<4>, epilogue: ConvEpilogue, options: ConvOptions) -> Tensor<4> {
    let burn = BurnOptions::new(options.stride, options.padding, options.dilation, options.groups);
    let out = burn_conv2d(x, weight, None, burn);
    let channels = |tensor: Tensor<1>| {
        let [o] = tensor.dims();
        tensor.reshape([1, o, 1, 1])
    };
    let out = match epilogue.scale {
        Some(scale) => out * channels(scale),
        None => out,
    };
    let out = match epilogue.shift {
        Some(shift) => out + channels(shift),
        None => out,
    };
    let out = match epilogue.residual {
        Some(residual) => out + residual,
        None => out,
    };
    if epilogue.relu { activation::relu(out) } else { out }
}

fn limit(k: usize) -> f32 {
    3e-6 + 4e-7 * (k as f32).sqrt()
}

#[derive(Debug, Clone)]
struct Shape {
    batch: usize,
    inputs: usize,
    outputs: usize,
    size: [usize; 2],
    kernel: [usize; 2],
    options: ConvOptions,
}

fn shape() -> impl Strategy<Value = Shape> {
    let sizes = (1usize..4, 1usize..5, 1usize..9, 1usize..26, 1usize..26);
    let taps = (prop::sample::select(vec![1usize, 2, 3, 5, 7]), prop::sample::select(vec![1usize, 3, 7]));
    let options = (1usize..4, 1usize..3, 0usize..4, 0usize..3, 1usize..3, 0usize..3);
    (sizes, taps, options).prop_map(|((batch, i, o, h, w), (kh, kw), (sy, sx, py, px, d, group))| {
        // Groups: none, two, or every channel for itself (with one or two outputs each).
        let (inputs, outputs, groups) = match group {
            0 => (i, o, 1),
            1 => (2 * i, 2 * o, 2),
            _ => (i, i * (1 + o % 2), i),
        };
        let options = ConvOptions { stride: [sy, sx], padding: [py, px], dilation: [d, 1], groups };
        Shape { batch, inputs, outputs, size: [h, w], kernel: [kh, kw], options }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, rng_seed: RngSeed::Fixed(5), ..ProptestConfig::default() })]

    #[test]
    fn convolution_equals_the_composed_one(
        shape in shape(), scale in any::<bool>(), shift in any::<bool>(), residual in any::<bool>(), relu in any::<bool>(), seed in any::<u64>(),
    ) {
        let Shape { batch, inputs, outputs, size, kernel, options } = shape;
        let Some(out) = options.output_size(size, kernel) else { return Ok(()) };
        let device = tracked();
        let x = tensor(seed, [batch, inputs, size[0], size[1]], 1.0, &device).require_grad();
        let weight = tensor(seed ^ 1, [outputs, inputs / options.groups, kernel[0], kernel[1]], 1.0, &device).require_grad();
        let epilogue = ConvEpilogue {
            scale: scale.then(|| tensor(seed ^ 2, [outputs], 1.0, &device)),
            shift: shift.then(|| tensor(seed ^ 3, [outputs], 1.0, &device).require_grad()),
            residual: residual.then(|| tensor(seed ^ 4, [batch, outputs, out[0], out[1]], 1.0, &device).require_grad()),
            relu,
        };
        let ours = conv2d(x.clone(), weight.clone(), epilogue.clone(), options);
        let theirs = composed(x.clone(), weight.clone(), epilogue.clone(), options);
        let depth = inputs / options.groups * kernel[0] * kernel[1];
        if !(shift || residual) {
            let packed = PackedConv::new(weight.clone().inner(), options);
            let scale = epilogue.scale.clone().map(Tensor::inner);
            let packed = packed.forward(x.clone().inner(), ConvEpilogue { scale, relu, ..Default::default() });
            assert_near("packed", packed, ours.clone().inner(), limit(depth));
        }
        assert_near("value", ours.clone().inner(), theirs.clone().inner(), limit(depth));
        if relu {
            return Ok(()); // gradients are compared where no rounding can flip a sign
        }
        let probe = tensor(seed ^ 5, ours.dims(), 1.0, &device);
        let ours = (ours * probe.clone()).sum().backward();
        let theirs = (theirs * probe).sum().backward();
        assert_near("input", x.grad(&ours).unwrap(), x.grad(&theirs).unwrap(), limit(outputs * kernel[0] * kernel[1]));
        let pixels = batch * out[0] * out[1];
        assert_near("weight", weight.grad(&ours).unwrap(), weight.grad(&theirs).unwrap(), limit(pixels));
        if let Some(shift) = &epilogue.shift {
            assert_near("shift", shift.grad(&ours).unwrap(), shift.grad(&theirs).unwrap(), limit(pixels));
        }
        if let Some(residual) = &epilogue.residual {
            assert_near("residual", residual.grad(&ours).unwrap(), residual.grad(&theirs).unwrap(), 0.0);
        }
    }
}

#[test]
fn the_shapes_of_residual_networks() {
    for (inputs, outputs, kernel, stride, padding, dilation, size) in [
        (3, 64, 7, 2, 3, 1, [75, 101]),
        (64, 64, 3, 1, 1, 1, [40, 41]),
        (64, 256, 1, 1, 0, 1, [33, 40]),
        (128, 128, 3, 2, 1, 1, [29, 30]),
        (256, 512, 1, 2, 0, 1, [15, 21]),
        (512, 512, 3, 1, 2, 2, [7, 9]),
    ] {
        let x = tensor(1, [2, inputs, size[0], size[1]], 1.0, &cpu());
        let weight = tensor(2, [outputs, inputs, kernel, kernel], 1.0, &cpu());
        let epilogue = ConvEpilogue {
            scale: Some(tensor(3, [outputs], 1.0, &cpu())),
            shift: Some(tensor(4, [outputs], 1.0, &cpu())),
            residual: None,
            relu: true,
        };
        let options = ConvOptions { stride: [stride; 2], padding: [padding; 2], dilation: [dilation; 2], groups: 1 };
        let ours = conv2d(x.clone(), weight.clone(), epilogue.clone(), options);
        assert_near(
            &format!("{inputs} to {outputs}"),
            ours,
            composed(x, weight, epilogue, options),
            limit(inputs * kernel * kernel),
        );
    }
}

#[test]
fn what_relu_hides_has_no_gradient() {
    let device = tracked();
    let x = tensor(1, [1, 2, 3, 3], 1.0, &device).require_grad();
    let weight = tensor(2, [2, 2, 1, 1], 1.0, &device);
    let shift = Tensor::<1>::from_floats([100.0, -100.0], &device).require_grad();
    let epilogue = ConvEpilogue { shift: Some(shift.clone()), relu: true, ..Default::default() };
    let grads = conv2d(x.clone(), weight.clone(), epilogue, ConvOptions::default()).sum().backward();
    assert_near("shift", shift.grad(&grads).unwrap(), Tensor::from_floats([9.0, 0.0], &cpu()), 0.0);
    let first = weight.inner().narrow(0, 0, 1).reshape([1, 2, 1, 1]).expand([1, 2, 3, 3]);
    assert_near("input", x.grad(&grads).unwrap(), first, 1e-6);
}

#[test]
fn no_images_and_other_float_types() {
    let weight = tensor(2, [4, 3, 3, 3], 1.0, &cpu());
    let options = ConvOptions { padding: [1; 2], ..ConvOptions::default() };
    let packed = PackedConv::new(weight.clone(), options);
    let none = Tensor::<4>::zeros([0, 3, 8, 9], &cpu());
    assert_eq!(conv2d(none.clone(), weight.clone(), ConvEpilogue::default(), options).dims(), [0, 4, 8, 9]);
    assert_eq!(packed.forward(none, ConvEpilogue::default()).dims(), [0, 4, 8, 9]);

    let x = tensor(1, [1, 3, 8, 9], 1.0, &cpu());
    let want = conv2d(x.clone(), weight.clone(), ConvEpilogue::default(), options);
    let cast = |tensor: Tensor<4>| tensor.cast(DType::F16);
    let out = conv2d(cast(x.clone()), cast(weight), ConvEpilogue::default(), options);
    assert_eq!(out.dtype(), DType::F16);
    assert_near("f16", out.cast(DType::F32), want.clone(), 4e-3);
    let out = packed.forward(cast(x), ConvEpilogue::default());
    assert_eq!(out.dtype(), DType::F16);
    assert_near("packed, f16", out.cast(DType::F32), want, 4e-3);
}
