//! ScanFormer against its reference.

mod import;
mod scan;
mod train;

use groundling_models::scanformer::ScanFormerConfig;
use groundling_testkit::Case;
use serde_json::Value;

/// The sizes that a case states; what else stands beside them is for the test.
fn config(case: &Case) -> ScanFormerConfig {
    let mut fields = case.json["config"].as_object().unwrap().clone();
    fields.retain(|field, _| !["loss", "checkpoint"].contains(&field.as_str()));
    let config: ScanFormerConfig = serde_json::from_value(Value::Object(fields)).unwrap();
    config.check().unwrap();
    config
}
