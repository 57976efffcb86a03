//! Which models make pictures, and what a picture costs.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

/// A model that makes pictures.
#[derive(Debug, Deserialize)]
pub(super) struct Model {
    name: String,
    /// Credits for one picture, by quality.
    credits: BTreeMap<String, i64>,
    /// Whether it has to be told to answer bytes rather than an address.
    #[serde(default)]
    pub(super) format: bool,
}

#[derive(Debug, Deserialize)]
struct Table {
    models: Vec<Model>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    serde_json::from_str(include_str!("models.json")).expect("a test reads the table that is built in")
});

/// What is known of a model: its own entry, else the one for all others.
pub(super) fn model(name: &str) -> Option<&'static Model> {
    let of = |name: &str| TABLE.models.iter().find(|model| model.name == name);
    of(name).or_else(|| of("*"))
}

/// The models with an entry of their own.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    TABLE.models.iter().map(|model| &*model.name).filter(|name| *name != "*")
}

impl Model {
    /// Credits for one picture of this quality; none if the model knows no such quality. `auto`, and nothing said, count
    /// as the middle one.
    pub(super) fn price(&self, quality: Option<&str>) -> Option<i64> {
        match quality {
            None | Some("auto") => self.credits.get("medium").or_else(|| self.credits.values().max()).copied(),
            Some(quality) => self.credits.get(quality).copied(),
        }
    }

    /// The qualities that it knows.
    pub(super) fn qualities(&self) -> impl Iterator<Item = &str> {
        self.credits.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_has_a_price() {
        assert!(names().count() >= 3);
        for name in names().chain(["a-model-of-tomorrow"]) {
            let model = model(name).expect("an entry");
            assert!(model.price(None).is_some_and(|price| price > 0), "{name}");
            assert!(model.credits.values().all(|price| *price > 0), "{name}");
            assert_eq!(model.price(Some("superb")), None, "{name}");
        }
    }
}
