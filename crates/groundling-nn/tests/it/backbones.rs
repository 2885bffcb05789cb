//! What holds for every whole network here.

use burn::module::Module;
use burn::tensor::{Device, Distribution, Int, Tensor};
use groundling_nn::bert::{BertConfig, BertInput};
use groundling_nn::checkpoint::{gradients, parameters};
use groundling_nn::resnet::ResNetConfig;
use groundling_nn::swin::SwinConfig;

/// Every trained parameter has a gradient, finite and somewhere not zero; running statistics have none.
fn assert_all_trained<M: Module>(module: &M, loss: Tensor<1>) {
    let found = gradients(module, &loss.backward());
    let trained: Vec<String> =
        parameters(module).into_iter().map(|info| info.name).filter(|name| !name.contains("running_")).collect();
    assert_eq!(found.iter().map(|(info, _)| info.name.clone()).collect::<Vec<_>>(), trained);
    for (info, values) in found {
        assert_eq!(values.len(), info.shape.iter().product::<usize>(), "{}", info.name);
        assert!(values.iter().all(|value| value.is_finite()), "{}", info.name);
        // A key's bias moves all logits of a query alike: its gradient is 0 but for rounding.
        assert!(values.iter().any(|&value| value != 0.0), "{}", info.name);
    }
}

/// A weighted sum, so that no gradient cancels.
fn loss<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    let weights = x.random_like(Distribution::Default);
    (x * weights).sum()
}

fn device() -> Device {
    let device = Device::flex().autodiff();
    device.seed(11);
    device
}

#[test]
fn every_parameter_of_bert_is_trained() {
    let device = device();
    let config = BertConfig { vocabulary: 9, positions: 5, pooler: true, ..BertConfig::tiny() };
    let model = config.init(&device);
    let output = model.forward(BertInput {
        ids: Tensor::<2, Int>::from_data([[1, 2, 3, 4, 8], [5, 6, 7, 0, 0]], &device),
        types: Some(Tensor::<2, Int>::from_data([[0, 0, 1, 1, 1], [0, 0, 0, 0, 0]], &device)),
        padding: Tensor::<2, Int>::from_data([[0, 0, 0, 0, 0], [0, 0, 0, 1, 1]], &device).equal_elem(1),
    });
    let pooled = loss(output.pooled.clone().unwrap());
    assert_all_trained(&model, loss(output.last()) + pooled);
}

#[test]
fn every_parameter_of_a_resnet_is_trained() {
    let device = device();
    let model = ResNetConfig::tiny().with_classes(Some(3)).with_train_norms(true).init(&device);
    let image = Tensor::<4>::random([2, 3, 40, 33], Distribution::Normal(0.0, 1.0), &device);
    let maps = model.forward(image);
    assert_all_trained(&model, loss(model.classify(&maps).unwrap()));
}

#[test]
fn every_parameter_of_a_swin_is_trained() {
    let device = device();
    let model = SwinConfig::tiny().init(&device);
    // Odd sizes: every map is padded.
    let image = Tensor::<4>::random([2, 3, 50, 37], Distribution::Normal(0.0, 1.0), &device);
    let sum = model.forward(image).map(loss).into_iter().reduce(|a, b| a + b).unwrap();
    assert_all_trained(&model, sum);
}

#[test]
fn a_batch_equals_its_singles() {
    let device = Device::flex();
    device.seed(5);
    let images = Tensor::<4>::random([2, 3, 45, 70], Distribution::Default, &device);
    let resnet = ResNetConfig::tiny().init(&device);
    let swin = SwinConfig::tiny().init(&device);
    let run = |images: Tensor<4>| {
        let [.., swin] = swin.forward(images.clone());
        [resnet.forward(images).c5, swin]
    };
    let both = run(images.clone());
    for index in 0..2 {
        for (one, both) in run(images.clone().narrow(0, index, 1)).into_iter().zip(both.clone()) {
            let apart = (one - both.narrow(0, index, 1)).abs().max().into_scalar::<f32>();
            assert!(apart < 1e-4, "{apart}");
        }
    }
}
