//! Server-sent events out of a stream of bytes, as the HTML standard reads them, with limits.

/// The longest line that is taken.
const LINE: usize = 1024 * 1024;

/// How much is read of one answer.
pub(super) const ANSWER: usize = 32 * 1024 * 1024;

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SseEvent {
    /// Its name; empty if the stream gives none.
    pub(super) name: String,
    /// Its data lines, joined.
    pub(super) data: String,
}

/// A stream that is larger than anything that a provider has reason to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum TooMuch {
    #[error("a line of the stream is longer than {LINE} bytes")]
    Line,
    #[error("the answer is longer than {ANSWER} bytes")]
    Answer,
}

/// Cuts a stream into events. Chunks may end anywhere, also within a character or between CR and LF.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    line: Vec<u8>,
    name: String,
    data: Option<String>,
    /// The first line is behind us: it alone may begin with a byte order mark.
    began: bool,
    /// A CR ended the last line, so an LF now belongs to it.
    after_cr: bool,
    read: usize,
}

impl Splitter {
    /// Takes the next chunk and hands on what it completes.
    pub(super) fn push(&mut self, chunk: &[u8], events: &mut Vec<SseEvent>) -> Result<(), TooMuch> {
        self.read += chunk.len();
        if self.read > ANSWER {
            return Err(TooMuch::Answer);
        }
        let mut rest = chunk;
        while !rest.is_empty() {
            if std::mem::take(&mut self.after_cr) && rest[0] == b'\n' {
                rest = &rest[1..];
                continue;
            }
            let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let piece = &rest[..end.unwrap_or(rest.len())];
            if self.line.len() + piece.len() > LINE {
                return Err(TooMuch::Line);
            }
            self.line.extend_from_slice(piece);
            let Some(end) = end else { break };
            self.after_cr = rest[end] == b'\r';
            rest = &rest[end + 1..];
            self.end_line(events);
        }
        Ok(())
    }

    /// The stream is over: some servers forget the last blank line.
    pub(super) fn finish(&mut self, events: &mut Vec<SseEvent>) {
        if !self.line.is_empty() {
            self.end_line(events);
        }
        self.end_event(events);
    }

    fn end_line(&mut self, events: &mut Vec<SseEvent>) {
        let mut bytes = std::mem::take(&mut self.line);
        if !std::mem::replace(&mut self.began, true) && bytes.starts_with(BOM) {
            bytes.drain(..BOM.len());
        }
        if bytes.is_empty() {
            self.end_event(events);
        } else {
            let line = String::from_utf8_lossy(&bytes);
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut self.name),
                "data" => match &mut self.data {
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                    None => self.data = Some(value.to_owned()),
                },
                // Comments have an empty field; ids and retry times are of no use to a call that is repeated whole.
                _ => {}
            }
        }
        // The buffer is used again.
        bytes.clear();
        self.line = bytes;
    }

    fn end_event(&mut self, events: &mut Vec<SseEvent>) {
        let name = std::mem::take(&mut self.name);
        if let Some(data) = self.data.take() {
            events.push(SseEvent { name, data });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(chunks: &[&[u8]]) -> Vec<(String, String)> {
        let mut splitter = Splitter::default();
        let mut events = Vec::new();
        for chunk in chunks {
            splitter.push(chunk, &mut events).unwrap();
        }
        splitter.finish(&mut events);
        events.into_iter().map(|event| (event.name, event.data)).collect()
    }

    fn pair(name: &str, data: &str) -> (String, String) {
        (name.into(), data.into())
    }

    #[test]
    fn a_stream_reads_the_same_wherever_it_is_cut() {
        let text = "\u{feff}event: a\r\ndata: grüß\r\ndata:Gott 🎈\r\n\r\n: comment\rdata\r\rid: 7\nretry: 1\nevent: b\ndata:  two\n\n\n";
        let expected = vec![pair("a", "grüß\nGott 🎈"), pair("", ""), pair("b", " two")];
        let bytes = text.as_bytes();
        assert_eq!(split(&[bytes]), expected);
        for cut in 0..=bytes.len() {
            assert_eq!(split(&[&bytes[..cut], &bytes[cut..]]), expected, "cut at {cut}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(split(&single), expected);
    }

    #[test]
    fn odd_ends_and_bytes_do_no_harm() {
        assert_eq!(split(&[b"data: x"]), [pair("", "x")]);
        assert_eq!(split(&[b"event: ping\n\n"]), []);
        assert_eq!(split(&[b"data: \xff\n\n"]), [pair("", "\u{fffd}")]);
        assert_eq!(split(&[b""]), []);
    }

    #[test]
    fn size_has_limits() {
        let mut events = Vec::new();
        let mut splitter = Splitter::default();
        splitter.push(b"data: ", &mut events).unwrap();
        let half = vec![b'x'; LINE / 2];
        splitter.push(&half, &mut events).unwrap();
        assert_eq!(splitter.push(&half, &mut events), Err(TooMuch::Line));

        let mut splitter = Splitter::default();
        let mut line = vec![b'x'; LINE];
        line[LINE - 1] = b'\n';
        line[0] = b':';
        for _ in 0..ANSWER / LINE {
            splitter.push(&line, &mut events).unwrap();
        }
        assert_eq!(splitter.push(b"\n", &mut events), Err(TooMuch::Answer));
        assert_eq!(events, []);
    }
}
