//! The engine: many texts, one batch.
//!
//! A request becomes units (sentences that fit the model). Every unit of every request takes a slot
//! of the running batch as one becomes free, requests taking turns; what is certain of a unit goes
//! through the vocoder, window by window on threads of its own, while the batch runs on. Units are
//! joined with a pause when the last one is done.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::gpt::{GptBatch, NextCode, Prediction, VoiceKey, check_conditioning, voice_key};
use super::metadata::XttsMetadata;
use super::plan::plan;
use super::sampler::{Sampler, Sampling};
use super::speech::{Speech, SpeechRequest, SpokenPart};
use super::text::{Readings, TextEncoder};
use super::vocoder::{Vocoder, VocoderResult, VocoderWork, Waveform, Windowing};
use super::{SynthesizeError, SynthesizeOptions};
use crate::domain::voice::Conditioning;
use crate::domain::{Deadline, Pcm};
use crate::onnx::{Onnx, OnnxError, Place};
use crate::stages::workers::{Workers, WorkersError};
use crate::stages::{Engine, Ticket};

/// Silence between two units.
const PAUSE_MS: usize = 150;

/// Requests in the engine for each slot: enough that slots never wait for a request.
const REQUESTS_PER_SLOT: usize = 2;

/// Longest wait for the vocoder when nothing else is to be done: then deadlines, and requests that came
/// meanwhile, are looked at.
const VOCODER_PATIENCE: Duration = Duration::from_millis(50);

/// Windows beyond those that run, so that no thread has to wait for a step of the decoder. More would be
/// lost work when their request is given up.
const SPARE_WINDOWS: usize = 1;

/// Times that a unit without a single code is tried, each with random numbers of its own.
const ATTEMPTS: u64 = 2;

/// XTTS v2 with its running batch.
pub struct XttsEngine {
    metadata: XttsMetadata,
    options: SynthesizeOptions,
    encoder: TextEncoder,
    readings: Readings,
    gpt: GptBatch,
    windowing: Windowing,
    vocoder: Workers<VocoderWork, VocoderResult>,
    jobs: BTreeMap<Ticket, Job>,
    /// Requests with units that wait for a slot; the front one is next.
    turns: VecDeque<Ticket>,
    /// The units in the batch, in the order of their slots.
    rows: Vec<Row>,
    /// Units whose codes are complete, the first one first.
    complete: Vec<Sounding>,
    /// Rows of the last step.
    decoded_rows: usize,
    /// The last step has done something.
    has_advanced: bool,
    /// Results that the next step hands out.
    done: Vec<(Ticket, Result<Speech, SynthesizeError>)>,
}

/// A request on its way.
struct Job {
    conditioning: Arc<Conditioning>,
    voice: VoiceKey,
    sampling: Sampling,
    seed: [u8; 32],
    deadline: Deadline,
    units: Vec<Unit>,
    /// Units that wait for a slot, the first one next.
    waiting: VecDeque<usize>,
}

struct Unit {
    text: String,
    ids: Vec<i64>,
    attempt: u64,
    samples: Option<Vec<f32>>,
}

/// A unit on its way to a waveform.
struct Sounding {
    ticket: Ticket,
    unit: usize,
    /// Its latent n is the hidden state that chose code n, the stop code's included.
    waveform: Waveform,
}

/// A unit in the batch.
struct Row {
    sounding: Sounding,
    sampler: Sampler,
    next: NextCode,
}

/// How a prediction continues a row.
enum Turn {
    /// With this code.
    Code(u32),
    /// The unit is complete; false when it has no code at all.
    Complete(bool),
}

impl XttsEngine {
    /// Loads decoder, vocoder and tokenizer from the model's directory and allocates the cache.
    ///
    /// # Errors
    /// A file is missing or damaged, the cache does not fit into memory, or the device cannot be used.
    pub fn load(
        onnx: &Onnx,
        directory: &Path,
        options: SynthesizeOptions,
    ) -> Result<Self, SynthesizeError> {
        let metadata = XttsMetadata::read(directory)?;
        let encoder = TextEncoder::load(&directory.join("vocab.json"))?;
        let readings = Readings::load(directory)?;
        let decoder = options.decoder(directory, onnx.device());
        let file = directory.join(decoder.precision.decoder_file());
        let slots = options.slots_within_memory(&metadata, decoder.precision);
        if decoder.device != onnx.device() {
            tracing::warn!(
                decoder = %file.display(),
                "the synthesis decoder runs on the processor: for CUDA export it with --precisions fp32,int8r,fp16"
            );
        }
        let on = onnx.on(decoder.device);
        let gpt = Place::of(&on)
            .and_then(|place| GptBatch::load(&on, &place, &file, &metadata, slots, options.threads))
            .map_err(SynthesizeError::Load)?;
        let vocoders = options.vocoders.max(1);
        let vocoder = Workers::spawn("vocoder", vocoders, SPARE_WINDOWS, {
            let (onnx, metadata) = (onnx.clone(), metadata.clone());
            let file = directory.join(options.vocoder_file(directory, onnx.device()));
            // What the decoder has is for all of them.
            let threads = options.threads / vocoders;
            move || Vocoder::load(&onnx, &file, &metadata, threads).map(Vocoder::into_worker)
        });
        let vocoder = vocoder.map_err(|error| match error {
            WorkersError::Thread(error) => SynthesizeError::Thread(error),
            WorkersError::Load(error) => error,
        })?;
        tracing::info!(
            slots,
            max_cache_bytes = slots * decoder.precision.slot_bytes(&metadata),
            decoder = %file.display(),
            device = ?decoder.device,
            "speech synthesis loaded"
        );
        Ok(Self {
            windowing: Windowing::of(&metadata),
            metadata,
            options,
            encoder,
            readings,
            gpt,
            vocoder,
            jobs: BTreeMap::new(),
            turns: VecDeque::new(),
            rows: Vec::with_capacity(slots),
            complete: Vec::new(),
            decoded_rows: 0,
            has_advanced: false,
            done: Vec::new(),
        })
    }

    fn begin(&self, request: SpeechRequest) -> Result<Job, SynthesizeError> {
        check_conditioning(&self.metadata, &request.conditioning)?;
        let units: Vec<Unit> = plan(
            request.text.expose(),
            request.language,
            &self.metadata,
            &self.encoder,
            &self.readings,
        )?
        .into_iter()
        .map(|planned| Unit {
            text: planned.text,
            ids: planned.ids,
            attempt: 0,
            samples: None,
        })
        .collect();
        let hints = request.sampling.or(self.options.sampling);
        Ok(Job {
            voice: voice_key(&request.conditioning),
            conditioning: request.conditioning,
            sampling: Sampling::new(&self.metadata.sampling, hints),
            seed: request.seed,
            deadline: request.deadline,
            waiting: (0..units.len()).collect(),
            units,
        })
    }

    /// Ends requests whose time is over.
    fn drop_stopped(&mut self) {
        let stopped: Vec<_> = self
            .jobs
            .iter()
            .filter_map(|(ticket, job)| Some((*ticket, job.deadline.check().err()?)))
            .collect();
        for (ticket, stop) in stopped {
            self.end(ticket, Err(stop.into()));
        }
    }

    /// Takes a request out of the engine with its result, and its units out of the batch.
    fn end(&mut self, ticket: Ticket, result: Result<Speech, SynthesizeError>) {
        if self.jobs.remove(&ticket).is_none() {
            return;
        }
        self.turns.retain(|turn| *turn != ticket);
        self.complete.retain(|sounding| sounding.ticket != ticket);
        for row in (0..self.rows.len()).rev() {
            if self.rows[row].sounding.ticket == ticket {
                self.remove_row(row);
            }
        }
        self.done.push((ticket, result));
    }

    fn remove_row(&mut self, row: usize) -> Row {
        self.gpt.leave(row);
        self.rows.swap_remove(row)
    }

    /// Gives vacant slots to waiting units: all of them while nobody speaks, else one for each step,
    /// because the others stand still meanwhile.
    fn admit(&mut self) {
        let nobody_speaks = self.rows.is_empty();
        while self.gpt.make_vacancy() {
            let Some((ticket, unit)) = self.next_unit() else {
                return;
            };
            if let Err(error) = self.admit_unit(ticket, unit) {
                if let SynthesizeError::Inference(cause) = &error
                    && self.gpt.is_lost()
                {
                    self.fail_batch(Arc::clone(cause));
                }
                self.end(ticket, Err(error));
            }
            if !nobody_speaks {
                return;
            }
        }
    }

    /// The next waiting unit; its request goes to the end of the queue.
    fn next_unit(&mut self) -> Option<(Ticket, usize)> {
        while let Some(ticket) = self.turns.pop_front() {
            let Some(unit) = self
                .jobs
                .get_mut(&ticket)
                .and_then(|job| job.waiting.pop_front())
            else {
                continue;
            };
            self.turns.push_back(ticket);
            return Some((ticket, unit));
        }
        None
    }

    fn admit_unit(&mut self, ticket: Ticket, unit: usize) -> Result<(), SynthesizeError> {
        let Some(job) = self.jobs.get(&ticket) else {
            return Ok(());
        };
        let planned = &job.units[unit];
        // Every unit and every attempt has random numbers of its own.
        let stream = unit as u64 * ATTEMPTS + planned.attempt;
        let mut row = Row {
            sounding: Sounding {
                ticket,
                unit,
                waveform: Waveform::new(self.windowing),
            },
            sampler: Sampler::new(&self.metadata, job.sampling, job.seed, stream),
            next: NextCode {
                code: 0,
                position: 0,
            },
        };
        let prediction = self
            .gpt
            .join(job.voice, &job.conditioning.latents, &planned.ids)?;
        let turn = row.advance(&self.metadata, &prediction);
        self.rows.push(row);
        self.follow(self.rows.len() - 1, turn)
    }

    /// Advances every row by one code.
    fn decode(&mut self) {
        self.decoded_rows = self.rows.len();
        if self.rows.is_empty() {
            return;
        }
        let codes: Vec<NextCode> = self.rows.iter().map(|row| row.next).collect();
        let predictions = match self.gpt.step(&codes) {
            Ok(predictions) => predictions,
            Err(error) => return self.fail_batch(Arc::new(error)),
        };
        let turns: Vec<_> = self
            .rows
            .iter_mut()
            .zip(predictions.iter())
            .map(|(row, prediction)| row.advance(&self.metadata, &prediction))
            .collect();
        let mut failed = Vec::new();
        // From the last one, so that a row that takes the place of another has been looked at.
        for (row, turn) in turns.into_iter().enumerate().rev() {
            let ticket = self.rows[row].sounding.ticket;
            if let Err(error) = self.follow(row, turn) {
                failed.push((ticket, error));
            }
        }
        // Only now: with a request all its rows leave.
        for (ticket, error) in failed {
            self.end(ticket, Err(error));
        }
    }

    /// Ends every request in the batch: the cache is in an unknown state.
    fn fail_batch(&mut self, cause: Arc<OnnxError>) {
        let rows = std::mem::take(&mut self.rows);
        self.gpt.clear();
        for row in rows {
            self.end(
                row.sounding.ticket,
                Err(SynthesizeError::Inference(Arc::clone(&cause))),
            );
        }
    }

    /// Lets a row go on, or leave for the vocoder or another attempt.
    ///
    /// # Errors
    /// The row's request has failed.
    fn follow(
        &mut self,
        row: usize,
        turn: Result<Turn, SynthesizeError>,
    ) -> Result<(), SynthesizeError> {
        match turn? {
            Turn::Code(code) => {
                let next = &mut self.rows[row].next;
                *next = NextCode {
                    code,
                    position: next.position + 1,
                };
            }
            Turn::Complete(true) => {
                let mut sounding = self.remove_row(row).sounding;
                sounding.waveform.complete();
                self.complete.push(sounding);
            }
            Turn::Complete(false) => {
                let Sounding { ticket, unit, .. } = self.remove_row(row).sounding;
                self.retry(ticket, unit)?;
            }
        }
        Ok(())
    }

    /// Puts a unit that came out empty back to the front of its request's queue, once.
    fn retry(&mut self, ticket: Ticket, unit: usize) -> Result<(), SynthesizeError> {
        let Some(job) = self.jobs.get_mut(&ticket) else {
            return Ok(());
        };
        let attempt = &mut job.units[unit].attempt;
        *attempt += 1;
        if *attempt == ATTEMPTS {
            return Err(SynthesizeError::BadOutput("a sentence has no sound"));
        }
        job.waiting.push_front(unit);
        if !self.turns.contains(&ticket) {
            self.turns.push_front(ticket);
        }
        Ok(())
    }

    /// Gives the vocoder what is certain: of complete units first, so that they are heard soon.
    fn start_windows(&mut self) {
        while self.vocoder.vacancies() > 0 {
            let rows = self.rows.iter_mut().map(|row| &mut row.sounding);
            let next = self.complete.iter_mut().chain(rows).find_map(|sounding| {
                let window = sounding.waveform.next_window()?;
                Some((sounding.ticket, sounding.unit, window))
            });
            let Some((ticket, unit, window)) = next else {
                return;
            };
            let Some(job) = self.jobs.get(&ticket) else {
                continue;
            };
            self.vocoder.start(VocoderWork {
                ticket,
                unit,
                window,
                conditioning: Arc::clone(&job.conditioning),
            });
        }
    }

    /// Takes what the vocoder has done, and waits for it when nothing else is to be done.
    fn take_windows(&mut self) {
        let is_free = self.rows.is_empty() && self.done.is_empty();
        let mut patience = if is_free {
            VOCODER_PATIENCE
        } else {
            Duration::ZERO
        };
        while let Some(result) = self.vocoder.finished(patience) {
            patience = Duration::ZERO;
            self.has_advanced = true;
            let rows = self.rows.iter_mut().map(|row| &mut row.sounding);
            let sounding =
                self.complete.iter_mut().chain(rows).find(|sounding| {
                    (sounding.ticket, sounding.unit) == (result.ticket, result.unit)
                });
            // Its request may have ended meanwhile.
            let Some(sounding) = sounding else {
                continue;
            };
            match result.samples {
                Ok(samples) => sounding.waveform.accept(result.frame, &samples),
                Err(error) => self.end(result.ticket, Err(error)),
            }
        }
        let whole = self
            .complete
            .extract_if(.., |sounding| sounding.waveform.is_whole());
        for sounding in whole.collect::<Vec<_>>() {
            let ticket = sounding.ticket;
            let Some(job) = self.jobs.get_mut(&ticket) else {
                continue;
            };
            job.units[sounding.unit].samples = Some(sounding.waveform.into_samples());
            if let Some(speech) = job.speech(self.metadata.output_sample_rate_hz) {
                self.end(ticket, Ok(speech));
            }
        }
    }
}

impl Row {
    /// Keeps the latent and chooses the next code.
    ///
    /// A unit that reaches the most codes without a stop is cut there and kept: what was said until
    /// then is the text's beginning.
    fn advance(
        &mut self,
        metadata: &XttsMetadata,
        prediction: &Prediction<'_>,
    ) -> Result<Turn, SynthesizeError> {
        let code = self
            .sampler
            .choose(prediction.logits)
            .ok_or(SynthesizeError::BadOutput(
                "the decoder's logits are not finite",
            ))?;
        let waveform = &mut self.sounding.waveform;
        waveform.push(prediction.latent);
        let codes = waveform.codes();
        Ok(if code == metadata.stop_audio_id {
            Turn::Complete(codes > 1)
        } else if codes >= metadata.max_codes {
            Turn::Complete(true)
        } else {
            Turn::Code(code)
        })
    }
}

impl Job {
    /// The whole speech, when all units are there.
    fn speech(&mut self, sample_rate_hz: u32) -> Option<Speech> {
        if self.units.iter().any(|unit| unit.samples.is_none()) {
            return None;
        }
        let pause = vec![0.0; PAUSE_MS * sample_rate_hz as usize / 1000];
        let milliseconds = |samples: usize| samples as u64 * 1000 / u64::from(sample_rate_hz);
        let mut samples: Vec<f32> = Vec::new();
        let mut parts = Vec::with_capacity(self.units.len());
        for unit in &mut self.units {
            if !samples.is_empty() {
                samples.extend_from_slice(&pause);
            }
            let start = samples.len();
            let spoken = unit.samples.take().unwrap_or_default();
            samples.extend(spoken.iter().map(|sample| sample.clamp(-1.0, 1.0)));
            parts.push(SpokenPart {
                text: std::mem::take(&mut unit.text).into(),
                start_ms: milliseconds(start),
                end_ms: milliseconds(samples.len()),
            });
        }
        Some(Speech {
            pcm: Pcm::new(samples, sample_rate_hz),
            parts,
        })
    }
}

impl Engine for XttsEngine {
    type Request = SpeechRequest;
    type Output = Speech;
    type Error = SynthesizeError;

    fn vacancies(&self) -> usize {
        let most = self.gpt.slots() * REQUESTS_PER_SLOT;
        most.saturating_sub(self.jobs.len() + self.done.len())
    }

    fn join(&mut self, ticket: Ticket, request: SpeechRequest) {
        match self.begin(request) {
            Ok(job) => {
                self.jobs.insert(ticket, job);
                self.turns.push_back(ticket);
            }
            Err(error) => self.done.push((ticket, Err(error))),
        }
    }

    fn is_idle(&self) -> bool {
        self.jobs.is_empty() && self.done.is_empty()
    }

    fn step(&mut self) -> Vec<(Ticket, Result<Speech, SynthesizeError>)> {
        self.has_advanced = false;
        self.drop_stopped();
        self.admit();
        self.decode();
        self.start_windows();
        self.take_windows();
        self.start_windows();
        self.has_advanced |= self.decoded_rows > 0 || !self.done.is_empty();
        std::mem::take(&mut self.done)
    }

    fn has_advanced(&self) -> bool {
        self.has_advanced
    }

    fn decoded_rows(&self) -> Option<usize> {
        Some(self.decoded_rows)
    }
}

#[cfg(test)]
mod tests;
