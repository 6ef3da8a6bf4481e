//! The example apps, row by row of the seeds' tables, and what a wrong file is told.

mod driver;
mod explained;
mod mistakes;
mod seeds;

use super::{Config, Inputs, Problems, load};

/// The five examples and the built-in app, by name.
pub(super) const FILES: &[(&str, &str)] = &[
    ("ticketing", include_str!("../../../../../examples/ticketing/oyez.toml")),
    ("erp", include_str!("../../../../../examples/erp/oyez.toml")),
    ("concrete-plant", include_str!("../../../../../examples/concrete-plant/oyez.toml")),
    ("ginforge", include_str!("../../../../../examples/ginforge/oyez.toml")),
    ("cloudphone", include_str!("../../../../../examples/cloudphone/oyez.toml")),
    ("demo", super::DEV),
];

/// Loads a text with the three variables that suffice for every example.
pub(super) fn load_with_env(source: &str) -> Result<Config, Problems> {
    let env = |name: &str| match name {
        "JWT_SECRET" | "AUTH_SECRET" => Some("a-secret-for-tests-0123456789abcdef".to_owned()),
        "OYEZ_API_KEY" => Some("a-key-for-tests-0123456789abcdef".to_owned()),
        _ => None,
    };
    load("oyez.toml", source, Inputs { env: &env, file: &|_| Err("no such file".to_owned()), dev: false })
}

#[test]
fn every_example_is_good() {
    for (name, source) in FILES {
        match load_with_env(source) {
            Ok(config) => assert!(config.apps.iter().any(|app| app.name == *name), "{name} has no app of its name"),
            Err(problems) => panic!("{name}:\n{problems}"),
        }
    }
}
