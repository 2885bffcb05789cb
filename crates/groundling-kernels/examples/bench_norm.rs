use burn::backend::Flex;
use burn::tensor::TensorData;
use burn::tensor::{Device, Distribution, Tensor};
use groundling_kernels::*;
use std::time::Instant;
fn raw(shape: Vec<usize>) -> burn_flex::FlexTensor {
    let n = shape.iter().product::<usize>();
    burn_flex::FlexTensor::from_data(TensorData::new(
        (0..n).map(|i| ((i * 7919) % 1000) as f32 / 500.0 - 1.0).collect::<Vec<f32>>(),
        shape,
    ))
}
fn time(mut f: impl FnMut()) -> f64 {
    let mut samples = vec![];
    for _ in 0..5 {
        f();
    }
    for _ in 0..15 {
        let start = Instant::now();
        let mut n = 0;
        while start.elapsed().as_secs_f64() < 0.01 {
            f();
            n += 1;
        }
        samples.push(start.elapsed().as_secs_f64() / n as f64);
    }
    samples.sort_by(f64::total_cmp);
    samples[3] * 1e3
}
fn main() {
    let d = Device::flex();
    for (r, w) in [(2048, 256), (2048, 768), (320, 768), (20, 768)] {
        let x = Tensor::<2>::random([r, w], Distribution::Default, &d);
        let (g, b) = (Tensor::<1>::ones([w], &d), Tensor::<1>::zeros([w], &d));
        let fwd = time(|| {
            std::hint::black_box(layer_norm(x.clone(), g.clone(), b.clone(), 1e-5));
        });
        let add = time(|| {
            std::hint::black_box(add_layer_norm(x.clone(), x.clone(), g.clone(), b.clone(), 1e-5));
        });
        let (x, g, b, o) = (raw(vec![r, w]), raw(vec![w]), raw(vec![w]), raw(vec![r, w]));
        let both = time(|| {
            let (y, s, m, c) =
                <Flex as NormOps>::fused_layer_norm_keeping(x.clone(), MaybeTensor::Absent, g.clone(), b.clone(), 1e-5);
            std::hint::black_box((<Flex as NormOps>::fused_layer_norm_backward(s, m, c, g.clone(), o.clone()), y));
        });
        println!("ln {r}x{w} {fwd:.4} {add:.4} {both:.4}");
    }
    let x = Tensor::<4>::random([16, 8, 128, 128], Distribution::Default, &d);
    let fwd = time(|| {
        std::hint::black_box(softmax(x.clone()));
    });
    let (x, o) = (raw(vec![16, 8, 128, 128]), raw(vec![16, 8, 128, 128]));
    let both = time(|| {
        let y = <Flex as SoftmaxOps>::fused_softmax(x.clone());
        std::hint::black_box((<Flex as SoftmaxOps>::fused_softmax_backward(y.clone(), o.clone()), y));
    });
    println!("sm 16x8x128x128 {fwd:.4} - {both:.4}");
}
