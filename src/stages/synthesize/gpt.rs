//! The autoregressive part: one ragged batch of rows that join and leave at any step.
//!
//! Every row has a slot of the key/value cache, active rows always the first ones, so that a step is
//! a view of the first n slots and copies nothing. Attention is ONNX Runtime's GroupQueryAttention,
//! which knows the length of each row (`seqlens_k`, the length after the call minus one) and never
//! reads beyond it: what an earlier row left there does no harm.
//!
//! A prompt is `total_sequence_length` = past + new positions, and with a past for one row only; in a
//! step any other value but 1 will do.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::Path;

use ort::session::Session;
use ort::value::{DynTensor, Tensor, TensorElementType};
use sha2::{Digest, Sha256};

use super::SynthesizeError;
use super::metadata::XttsMetadata;
use crate::domain::voice::Conditioning;
use crate::onnx::{CacheNames, CacheView, InPlaceBinding, Onnx, OnnxError, Place, RowCaches};

/// Positions that a slot has at first and gets more of at a time; a sentence of ordinary length needs no
/// more. A slot of XTTS v2 takes 63 MB for so many.
const GROWTH_POSITIONS: usize = 256;

/// Slots that there is memory for at first, and for so many more at a time as sentences wait.
const GROWTH_SLOTS: usize = 4;

/// Voices whose prefix is kept; one takes 7.9 MB with XTTS v2.
const KEPT_VOICES: usize = 8;

/// Tells voices apart.
pub(super) type VoiceKey = [u8; 32];

/// The key under which the prefix of a voice is kept.
pub(super) fn voice_key(conditioning: &Conditioning) -> VoiceKey {
    let mut hash = Sha256::new();
    for value in conditioning.latents.iter() {
        hash.update(value.to_le_bytes());
    }
    hash.finalize().into()
}

/// What the model says about the next code of one row.
pub(super) struct Prediction<'a> {
    /// `[audio_vocab_size]`
    pub(super) logits: &'a [f32],
    /// `[width]`; the vocoder's input for the code that is chosen now.
    pub(super) latent: &'a [f32],
}

/// The code that a row goes on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NextCode {
    pub(super) code: u32,
    /// Codes of the row so far, this one included: its audio position.
    pub(super) position: usize,
}

/// The decoder with its slots.
pub(super) struct GptBatch {
    session: Session,
    caches: RowCaches,
    cache_names: CacheNames,
    metadata: XttsMetadata,
    /// Length of each active row, in positions; row i has slot i.
    lengths: Vec<usize>,
    /// Rows that have taken the place of one that left; their caches follow before anything runs.
    moves: VecDeque<Move>,
    /// Most rows that there can be.
    slots: usize,
    /// True when rows have lost what they held.
    is_lost: bool,
    /// The binding for n rows, made when n rows first run.
    steps: Vec<Option<Step>>,
    prefixes: Vec<(VoiceKey, Prefix)>,
    /// The last call for a single row, whose outputs `join` hands out.
    joined: Option<InPlaceBinding>,
}

/// A row's way to another slot.
struct Move {
    from: usize,
    to: usize,
    length: usize,
}

/// Inputs and outputs of a step for n rows, rewritten in place.
struct Step {
    binding: InPlaceBinding,
    ids: Tensor<i64>,
    pos: Tensor<i64>,
    seqlens_k: Tensor<i32>,
}

/// The first cond_len positions of every cache: [caches][heads, cond_len, head_dim].
type Prefix = Vec<Vec<u8>>;

/// Outputs in the order of [`GptBatch::bind`].
const LOGITS: usize = 0;
const LATENT: usize = 1;

impl GptBatch {
    /// Loads the graph for at most `slots` rows, with caches in `place`, where `onnx` has its memory. They grow with
    /// the rows, and when a unit is long.
    pub(super) fn load(
        onnx: &Onnx,
        place: &Place,
        path: &Path,
        metadata: &XttsMetadata,
        slots: usize,
        threads: usize,
    ) -> Result<Self, OnnxError> {
        let session = onnx.session(path, threads)?;
        let pairs: Vec<_> = (0..metadata.layers)
            .flat_map(|layer| {
                ["key", "value"].map(|kind| {
                    (
                        format!("past_{kind}_{layer}"),
                        format!("present_{kind}_{layer}"),
                    )
                })
            })
            .collect();
        let cache_names = CacheNames::overwritten(&session, place, &pairs)?;
        let capacity = metadata.max_positions().min(GROWTH_POSITIONS);
        let row_shape = [metadata.heads, capacity, metadata.head_dim];
        let held_slots = slots.min(GROWTH_SLOTS);
        Ok(Self {
            session,
            caches: RowCaches::new(&cache_names, held_slots, row_shape, f32::NAN)?,
            cache_names,
            metadata: metadata.clone(),
            lengths: Vec::with_capacity(slots),
            moves: VecDeque::new(),
            slots,
            is_lost: false,
            steps: (0..=slots).map(|_| None).collect(),
            prefixes: Vec::new(),
            joined: None,
        })
    }

    /// Rows that there can be.
    pub(super) fn slots(&self) -> usize {
        self.slots
    }

    /// Active rows.
    pub(super) fn rows(&self) -> usize {
        self.lengths.len()
    }

    /// True when rows have lost what they held: none may go on, and all have to be [cleared](Self::clear).
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Lets all rows leave.
    pub(super) fn clear(&mut self) {
        self.lengths.clear();
        self.moves.clear();
        self.is_lost = false;
    }

    /// Puts a row behind the others and predicts its first code.
    ///
    /// `latents` are the voice's, [cond_len, width], `text_ids` the text's without start and stop.
    ///
    /// # Panics
    /// No slot is [vacant](Self::make_vacancy), or `latents` or `text_ids` are not of the sizes that the metadata allow.
    pub(super) fn join(
        &mut self,
        voice: VoiceKey,
        latents: &[f32],
        text_ids: &[i64],
    ) -> Result<Prediction<'_>, OnnxError> {
        assert!(self.rows() < self.caches.rows(), "no vacant slot");
        assert_eq!(latents.len(), self.metadata.cond_len * self.metadata.width);
        assert!(
            text_ids.len() <= self.metadata.max_text_ids,
            "text too long"
        );
        self.follow_moves()?;
        // Both ends of the text, and the start code.
        self.make_room(self.metadata.cond_len + text_ids.len() + 3)?;
        let slot = self.rows();
        match self.prefixes.iter().position(|(key, _)| *key == voice) {
            Some(kept) => {
                let entry = self.prefixes.remove(kept);
                self.caches.write_row(slot, &entry.1)?;
                self.prefixes.push(entry);
            }
            None => {
                self.prompt(slot, latents, &[], &[], 0)?;
                let prefix = self.caches.read_row(slot, self.metadata.cond_len)?;
                if self.prefixes.len() == KEPT_VOICES {
                    self.prefixes.remove(0);
                }
                self.prefixes.push((voice, prefix));
            }
        }

        let metadata = &self.metadata;
        let text = std::iter::once(metadata.start_text_id)
            .chain(text_ids.iter().copied())
            .chain([metadata.stop_text_id]);
        let ids: Vec<i64> = text
            .chain([metadata.text_vocab_size as i64 + i64::from(metadata.start_audio_id)])
            .collect();
        let text_len = ids.len() as i64 - 1;
        let positions: Vec<i64> = (0..text_len)
            .chain([metadata.text_positions as i64])
            .collect();
        let past = metadata.cond_len;
        let binding = self.prompt(slot, &[], &ids, &positions, past)?;
        self.lengths.push(past + ids.len());
        let binding = self.joined.insert(binding);
        Ok(Prediction {
            logits: binding.output(LOGITS)?,
            latent: binding.output(LATENT)?,
        })
    }

    /// Runs several positions of the row in `slot`, after `past` positions that are there already.
    fn prompt(
        &mut self,
        slot: usize,
        latents: &[f32],
        ids: &[i64],
        positions: &[i64],
        past: usize,
    ) -> Result<InPlaceBinding, OnnxError> {
        let width = self.metadata.width;
        let new = latents.len() / width + ids.len();
        let total = (past + new) as i32;
        let latents = Tensor::from_array(([1, latents.len() / width, width], latents.to_vec()))?;
        let ids = Tensor::from_array(([1, ids.len()], ids.to_vec()))?;
        let pos = Tensor::from_array(([1, positions.len()], positions.to_vec()))?;
        let last_index = Tensor::from_array(([1, 1], vec![new as i64 - 1]))?;
        let seqlens_k = Tensor::from_array(([1], vec![total - 1]))?;
        let mut binding = self.bind(
            slot..slot + 1,
            [&latents.upcast_ref(), &ids.upcast_ref(), &pos.upcast_ref()],
            &last_index,
            &seqlens_k,
            total,
        )?;
        binding.run(&mut self.session, &[], &mut [&mut self.caches])?;
        Ok(binding)
    }

    /// Feeds every row its code, in the order of the rows, and predicts the next ones.
    ///
    /// # Panics
    /// There is not one code for each row, or a row is longer than the model takes.
    pub(super) fn step(&mut self, codes: &[NextCode]) -> Result<StepPredictions<'_>, OnnxError> {
        let rows = self.rows();
        assert!(rows > 0 && codes.len() == rows, "one code for each row");
        self.follow_moves()?;
        let longest = self.lengths.iter().copied().max().unwrap_or_default();
        self.make_room(longest + 1)?;
        let mut step = match self.steps[rows].take() {
            Some(step) => step,
            None => self.bind_step(rows)?,
        };
        let metadata = &self.metadata;
        let ids = step.ids.extract_tensor_mut().1;
        let pos = step.pos.extract_tensor_mut().1;
        let seqlens_k = step.seqlens_k.extract_tensor_mut().1;
        for (row, next) in codes.iter().enumerate() {
            ids[row] = metadata.text_vocab_size as i64 + i64::from(next.code);
            pos[row] = (metadata.text_positions + next.position) as i64;
            // The total after this call, minus one.
            seqlens_k[row] = self.lengths[row] as i32;
        }
        let changed = [
            ("ids", &*step.ids.upcast_ref()),
            ("pos", &*step.pos.upcast_ref()),
            ("seqlens_k", &*step.seqlens_k.upcast_ref()),
        ];
        step.binding
            .run(&mut self.session, &changed, &mut [&mut self.caches])?;
        for length in &mut self.lengths {
            *length += 1;
        }
        let step = self.steps[rows].insert(step);
        Ok(StepPredictions {
            logits: step.binding.output(LOGITS)?,
            latents: step.binding.output(LATENT)?,
            vocab: metadata.audio_vocab_size,
            width: metadata.width,
        })
    }

    /// True when a row may join: there is a vacant slot, and memory for it. Where there is none there are no more slots
    /// from now on than there is memory for.
    pub(super) fn make_vacancy(&mut self) -> bool {
        let (rows, held) = (self.rows(), self.caches.rows());
        if rows == self.slots || rows < held {
            return rows < self.slots;
        }
        let slots = (held + GROWTH_SLOTS).min(self.slots);
        // Rows keep what they hold even where that fails half-way: their positions stay where they are.
        match self.resize(slots, self.caches.capacity()) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(
                    slots = held,
                    error = &error as &dyn std::error::Error,
                    "there is no memory for more sentences at once"
                );
                self.slots = held;
                false
            }
        }
    }

    /// Lets every slot hold `positions`.
    ///
    /// # Errors
    /// The memory is not available; no row holds anything any more.
    fn make_room(&mut self, positions: usize) -> Result<(), OnnxError> {
        if positions <= self.caches.capacity() {
            return Ok(());
        }
        let most = self.metadata.max_positions();
        assert!(positions <= most, "longer than the model takes");
        let capacity = positions.next_multiple_of(GROWTH_POSITIONS).min(most);
        let resized = self.resize(self.caches.rows(), capacity);
        self.is_lost = resized.is_err();
        resized
    }

    fn resize(&mut self, slots: usize, capacity: usize) -> Result<(), OnnxError> {
        // Bindings hold addresses in the caches.
        self.steps.iter_mut().for_each(|step| *step = None);
        self.joined = None;
        self.caches.resize(slots, capacity, &self.lengths)?;
        tracing::debug!(
            slots,
            positions = capacity,
            "the cache of the synthesis decoder has grown"
        );
        Ok(())
    }

    fn bind_step(&mut self, rows: usize) -> Result<Step, OnnxError> {
        let latents = Tensor::<f32>::from_array(([rows, 0, self.metadata.width], Vec::new()))?;
        let ids = Tensor::from_array(([rows, 1], vec![0i64; rows]))?;
        let pos = Tensor::from_array(([rows, 1], vec![0i64; rows]))?;
        let last_index = Tensor::from_array(([rows, 1], vec![0i64; rows]))?;
        let seqlens_k = Tensor::from_array(([rows], vec![0i32; rows]))?;
        let binding = self.bind(
            0..rows,
            [&latents.upcast_ref(), &ids.upcast_ref(), &pos.upcast_ref()],
            &last_index,
            &seqlens_k,
            // Any value but 1 says the same in a step.
            self.caches.capacity() as i32,
        )?;
        Ok(Step {
            binding,
            ids,
            pos,
            seqlens_k,
        })
    }

    /// Binds one call: `tokens` are cond_latents [B, C, width], ids [B, S] and pos [B, S].
    fn bind(
        &self,
        slots: Range<usize>,
        [latents, ids, pos]: [&DynTensor; 3],
        last_index: &Tensor<i64>,
        seqlens_k: &Tensor<i32>,
        total_sequence_length: i32,
    ) -> Result<InPlaceBinding, OnnxError> {
        let (rows, metadata) = (slots.len(), &self.metadata);
        let total = Tensor::from_array(((), vec![total_sequence_length]))?;
        InPlaceBinding::new(
            &self.session,
            &[
                ("cond_latents", latents),
                ("ids", ids),
                ("pos", pos),
                ("last_index", &last_index.upcast_ref()),
                ("seqlens_k", &seqlens_k.upcast_ref()),
                ("total_sequence_length", &total.upcast_ref()),
            ],
            &[
                (
                    "logits",
                    TensorElementType::Float32,
                    &[rows, metadata.audio_vocab_size],
                ),
                (
                    "latent",
                    TensorElementType::Float32,
                    &[rows, metadata.width],
                ),
            ],
            &[CacheView {
                caches: &self.caches,
                rows: slots,
                names: &self.cache_names,
            }],
        )
    }

    /// Lets `row` leave; the last row takes its place and its number.
    ///
    /// # Panics
    /// There is no such row.
    pub(super) fn leave(&mut self, row: usize) {
        let from = self.rows() - 1;
        let length = self.lengths[from];
        self.lengths.swap_remove(row);
        if row != from {
            let to = row;
            self.moves.push_back(Move { from, to, length });
        }
    }

    /// Lets the caches of rows be where the rows are.
    fn follow_moves(&mut self) -> Result<(), OnnxError> {
        while let Some(Move { from, to, length }) = self.moves.front() {
            // One that fails is tried again: nothing may run without it.
            self.caches.copy_row(*from, *to, *length)?;
            self.moves.pop_front();
        }
        Ok(())
    }
}

/// What the model says about the next code of every row.
pub(super) struct StepPredictions<'a> {
    logits: &'a [f32],
    latents: &'a [f32],
    vocab: usize,
    width: usize,
}

impl<'a> StepPredictions<'a> {
    /// The rows' predictions, in the order of the rows.
    pub(super) fn iter(&self) -> impl Iterator<Item = Prediction<'a>> + use<'a> {
        self.logits
            .chunks_exact(self.vocab)
            .zip(self.latents.chunks_exact(self.width))
            .map(|(logits, latent)| Prediction { logits, latent })
    }
}

/// Checks that a voice was made for this model.
pub(super) fn check_conditioning(
    metadata: &XttsMetadata,
    conditioning: &Conditioning,
) -> Result<(), SynthesizeError> {
    if metadata.fits(conditioning) {
        return Ok(());
    }
    Err(SynthesizeError::ForeignConditioning {
        latents: conditioning.latents.len(),
        speaker: conditioning.speaker_embedding.len(),
    })
}

#[cfg(test)]
mod tests;
