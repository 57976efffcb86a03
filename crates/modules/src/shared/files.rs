//! What modules do alike with files.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mana_registry::prelude::*;
use mana_registry::{Media, MediaFile, NewFile};

/// The most bytes that travel within a call.
pub(crate) const IN_A_CALL: usize = 256 * 1024;

/// The largest file that is taken over from another app; it passes through memory.
const TAKEN_OVER: u64 = 32 << 20;

/// The bytes of an argument in base64, whatever white space stands in it.
pub(crate) fn from_base64(field: &str, text: &str) -> Result<Vec<u8>> {
    let plain: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let bytes = STANDARD.decode(plain).map_err(|_| ToolError::field(field, "expected bytes in base64"))?;
    if bytes.is_empty() {
        return Err(ToolError::field(field, "the file is empty"));
    }
    if bytes.len() > IN_A_CALL {
        return Err(ToolError::field(field, format!("expected at most {IN_A_CALL} bytes in a call")));
    }
    Ok(bytes)
}

/// Bytes as a result shows them.
pub(crate) fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Makes sure that the user has this file of his for this app as well, so that it stays when another app lets go of it.
pub(crate) async fn hold(media: &Media, file: &MediaFile, app: &'static str) -> Result<()> {
    let apps: &'static [&'static str] = match app {
        "me" => &["me"],
        "storage" => &["storage"],
        _ => &[],
    };
    if media.missing(vec![file.id], apps).await?.is_empty() {
        return Ok(());
    }
    let bytes = media.bytes(file.id, TAKEN_OVER).await?;
    let new = NewFile { app, name: file.name.clone(), declared: Some(file.mime_type.clone()), bytes };
    media.put(new).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_with_white_space_and_within_bounds() {
        assert_eq!(from_base64("content", "aGFs\n bG8=").expect("fits"), b"hallo");
        for bad in ["", "aGFsbG8", "ä", "%%%%"] {
            assert!(from_base64("content", bad).is_err(), "{bad:?}");
        }
        let most = vec![7; IN_A_CALL];
        assert_eq!(from_base64("content", &to_base64(&most)).expect("fits"), most);
        assert!(from_base64("content", &to_base64(&vec![7; IN_A_CALL + 1])).is_err());
    }
}
