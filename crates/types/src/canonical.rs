//! One text for equal JSON.

use std::fmt::Write as _;

use serde_json::Value;
use sha2::{Digest, Sha256};

/// The hash of a tool's arguments: SHA-256 over JSON with sorted keys and no white space, the first 16 hexadecimal
/// digits. Equal arguments have equal hashes, whatever the order of their members.
pub fn input_hash(arguments: &Value) -> String {
    let mut text = String::new();
    put(arguments, &mut text);
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(8).fold(String::with_capacity(16), |mut hash, byte| {
        let _ = write!(hash, "{byte:02x}"); // writing to a String cannot fail
        hash
    })
}

fn put(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut names: Vec<&String> = map.keys().collect();
            names.sort_unstable();
            out.push('{');
            for (at, name) in names.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push(':');
                put(&map[name], out);
            }
            out.push('}');
        }
        Value::Array(list) => {
            out.push('[');
            for (at, inner) in list.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                put(inner, out);
            }
            out.push(']');
        }
        other => out.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_matter_and_content_does() {
        let one: Value = serde_json::from_str(r#"{"b": [1, {"y": "ü", "x": null}], "a": true}"#).expect("is JSON");
        let two: Value = serde_json::from_str(r#"{"a": true, "b": [1, {"x": null, "y": "ü"}]}"#).expect("is JSON");
        let other: Value = serde_json::from_str(r#"{"a": true, "b": [{"x": null, "y": "ü"}, 1]}"#).expect("is JSON");
        assert_eq!(input_hash(&one), input_hash(&two));
        assert_ne!(input_hash(&one), input_hash(&other));
        assert_eq!(input_hash(&Value::Object(serde_json::Map::new())), "44136fa355b3678a");
    }
}
