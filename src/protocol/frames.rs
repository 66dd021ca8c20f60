//! The raw frames behind the JSON: looked up in requests, attached to events.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;

use super::fields::Fields;

/// One message: frame 0 is JSON, every further frame raw bytes.
pub type Frames = Vec<Bytes>;

/// Most frames of a message that is read at all; the gateway sends up to three.
pub(super) const MAX_FRAMES: usize = 16;

/// The binary frames of a request, by the names in its `binaryFrames` object.
pub(super) struct RequestFrames<'a> {
    frames: &'a [Bytes],
    names: Option<Fields>,
}

impl<'a> RequestFrames<'a> {
    /// Takes the `binaryFrames` object out of `fields`; `frames` is the whole message.
    pub(super) fn take(frames: &'a [Bytes], fields: &mut Fields) -> Self {
        Self {
            frames,
            names: fields.object("binaryFrames"),
        }
    }

    /// The frame whose number is under `name`; `None` for no number, the JSON's own, one that did
    /// not come, or an empty frame.
    pub(super) fn get(&self, name: &str) -> Option<Bytes> {
        let number = usize::try_from(self.names.as_ref()?.unsigned(name)?).ok()?;
        let frame = self.frames.get(number).filter(|_| number > 0)?;
        (!frame.is_empty()).then(|| frame.clone())
    }

    /// A string beside the frame numbers, such as the audio's media type.
    pub(super) fn string(&mut self, name: &str) -> Option<String> {
        self.names.as_mut()?.string(name)
    }
}

/// Where a binary frame of an event is, and what it holds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FrameDescriptor {
    /// Number of the frame in the message; the JSON is 0.
    index: usize,
    /// Length in bytes.
    size: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    mime_type: Option<String>,
}

/// The `binaryFrames` map of an event together with the frames it describes.
#[derive(Debug, Default)]
pub(super) struct Attachments {
    descriptors: BTreeMap<String, FrameDescriptor>,
    frames: Frames,
}

impl Attachments {
    /// Appends a frame under `name`; a name that is there already keeps its first frame.
    pub(super) fn attach(&mut self, name: String, frame: &Bytes, mime_type: Option<&str>) {
        let index = self.frames.len() + 1;
        self.descriptors.entry(name).or_insert_with(|| {
            self.frames.push(frame.clone());
            FrameDescriptor {
                index,
                size: frame.len(),
                mime_type: mime_type.map(str::to_owned),
            }
        });
    }

    /// The map that goes into the JSON.
    pub(super) fn descriptors(&self) -> &impl Serialize {
        &self.descriptors
    }

    /// The frames that follow the JSON.
    pub(super) fn into_frames(self) -> Frames {
        self.frames
    }
}
