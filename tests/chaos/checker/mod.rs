//! Whether anything was lost. It shares no code with the daemon: it reads the sender's log, the ledger's tables,
//! the subscribers' logs and the documents, and compares them.
//!
//! "Nothing lost" means: every job whose row is in the ledger has reached exactly one terminal state, done,
//! failed or quarantined, with the events that tell it; each of these events was received by somebody; what is
//! received twice is the same to the byte; the events of one job arrive in their order; MongoDB has one document
//! for each key, with the words of the event. What was pushed and never reached the ledger, because a kill met it
//! on its way, is counted apart.

pub mod evidence;
pub mod ledger;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::Serialize;

use evidence::{Ending, EventFacts, Receipt, Sent, StoredDocument, StoredEvent, StoredJob};

/// The answer to a request for which there was no room; it belongs to no job.
pub const POOL_FULL: &str = "translation pool full";

/// The answer to a ping; it belongs to no job either.
const SIGN_OF_LIFE: &str = "pong";

/// All accounts of one run.
#[derive(Debug, Default)]
pub struct Evidence {
    /// The sender's log.
    pub sent: Vec<Sent>,
    /// The ledger at the end.
    pub jobs: Vec<StoredJob>,
    /// Task ids that were in the ledger at some time.
    pub accepted_before: HashSet<String>,
    /// The subscribers' logs, in the order of arrival.
    pub received: Vec<Receipt>,
    /// MongoDB at the end; `None` where the run has none.
    pub documents: Option<Vec<StoredDocument>>,
}

/// A rule that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which.
    pub rule: Rule,
    /// Whose request, or which document.
    pub of: String,
    /// What was found.
    pub found: String,
}

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// A job that was accepted is in the ledger until it has ended.
    StaysInLedger,
    /// A job is in a terminal state.
    IsTerminal,
    /// The events of that state, and no others, end the job.
    EndsOnce,
    /// Every event was received.
    IsHeard,
    /// What is received is what is stored, to the byte.
    IsUnchanged,
    /// The events of one job arrive in their order.
    KeepsOrder,
    /// One document for each key.
    OneDocument,
    /// The document has the words of the event.
    RightDocument,
}

impl Rule {
    /// True when breaking it loses a job.
    pub fn is_about_loss(self) -> bool {
        matches!(
            self,
            Self::StaysInLedger | Self::IsTerminal | Self::EndsOnce | Self::IsHeard
        )
    }
}

/// What the accounts amount to.
#[derive(Debug, Default)]
pub struct Verification {
    pub counts: Counts,
    /// Every rule that was broken, and by whom.
    pub problems: Vec<Problem>,
}

/// Requests, and what has become of them.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Counts {
    /// Requests in the sender's log.
    #[serde(rename = "jobs")]
    pub pushed: usize,
    /// Of these, in the ledger.
    pub accepted: usize,
    /// Of these, in a terminal state.
    pub terminal: usize,
    /// Of these, failed.
    pub failed: usize,
    /// Of these, quarantined.
    pub quarantined: usize,
    /// Requests that were answered instead of accepted.
    pub refused: usize,
    /// Requests of which nothing is known but that they were pushed.
    pub never_accepted: usize,
    /// Jobs that break a rule about loss.
    pub lost: usize,
    /// Documents beyond the first of their key.
    pub duplicate_documents: usize,
}

/// Compares the accounts.
pub fn check(evidence: &Evidence) -> Verification {
    let mut checker = Checker {
        evidence,
        heard: evidence
            .received
            .iter()
            .map(|receipt| receipt.fingerprint.as_str())
            .collect(),
        problems: Vec::new(),
    };
    checker.check_jobs();
    checker.check_receipts();
    checker.check_order();
    let duplicate_documents = checker.check_documents();
    let problems = checker.problems;
    let lost: BTreeSet<&str> = problems
        .iter()
        .filter(|problem| problem.rule.is_about_loss())
        .map(|problem| problem.of.as_str())
        .collect();
    let counts = Counts {
        lost: lost.len(),
        duplicate_documents,
        ..count(evidence)
    };
    Verification { counts, problems }
}

/// The requests; what is lost or there twice is another question.
fn count(evidence: &Evidence) -> Counts {
    let states: HashMap<&str, &str> = evidence
        .jobs
        .iter()
        .map(|job| (job.task_id.as_str(), job.state.as_str()))
        .collect();
    let answered: HashSet<&str> = evidence
        .received
        .iter()
        .filter_map(|receipt| receipt.facts.task_id.as_deref())
        .collect();
    let mut counts = Counts {
        pushed: evidence.sent.len(),
        ..Counts::default()
    };
    for sent in &evidence.sent {
        let Some(state) = states.get(sent.task_id.as_str()) else {
            if answered.contains(sent.task_id.as_str()) {
                counts.refused += 1;
            } else if !evidence.accepted_before.contains(&sent.task_id) {
                counts.never_accepted += 1;
            }
            continue;
        };
        counts.accepted += 1;
        counts.terminal += usize::from(is_terminal(state));
        counts.failed += usize::from(*state == "failed");
        counts.quarantined += usize::from(*state == "quarantined");
    }
    counts
}

fn is_terminal(state: &str) -> bool {
    ["done", "failed", "quarantined"].contains(&state)
}

struct Checker<'a> {
    evidence: &'a Evidence,
    /// Fingerprints of everything that arrived.
    heard: HashSet<&'a str>,
    problems: Vec<Problem>,
}

impl<'a> Checker<'a> {
    fn report(&mut self, rule: Rule, of: &str, found: impl Into<String>) {
        self.problems.push(Problem {
            rule,
            of: of.to_owned(),
            found: found.into(),
        });
    }

    fn check_jobs(&mut self) {
        let evidence = self.evidence;
        let endings: HashMap<&str, &Ending> = evidence
            .sent
            .iter()
            .map(|sent| (sent.task_id.as_str(), &sent.ending))
            .collect();
        let mut present = HashSet::new();
        for job in &evidence.jobs {
            if !present.insert(job.task_id.as_str()) {
                self.report(Rule::EndsOnce, &job.task_id, "two jobs of one request");
            }
            // Jobs that nobody has asked for, as those of the daemon itself, have no events to check.
            if let Some(ending) = endings.get(job.task_id.as_str()) {
                self.check_job(job, ending);
            }
        }
        for task_id in &evidence.accepted_before {
            if !present.contains(task_id.as_str()) && endings.contains_key(task_id.as_str()) {
                self.report(Rule::StaysInLedger, task_id, "its row is gone");
            }
        }
    }

    fn check_job(&mut self, job: &'a StoredJob, ending: &Ending) {
        if !is_terminal(&job.state) {
            let found = format!("it is still {}", job.state);
            self.report(Rule::IsTerminal, &job.task_id, found);
        } else if let Err(found) = check_end(job, ending) {
            self.report(Rule::EndsOnce, &job.task_id, found);
        }
        for event in &job.events {
            if !self.heard.contains(event.fingerprint.as_str()) {
                let found = format!("{} was never received", name(&event.facts));
                self.report(Rule::IsHeard, &job.task_id, found);
            }
        }
    }

    /// Whatever arrives is a stored event, unless it belongs to no job: a refusal or a sign of life.
    fn check_receipts(&mut self) {
        let evidence = self.evidence;
        let jobs = evidence.jobs.iter();
        let task_ids: HashSet<&str> = jobs.clone().map(|job| job.task_id.as_str()).collect();
        let stored: HashSet<&str> = jobs
            .flat_map(|job| &job.events)
            .map(|event| event.fingerprint.as_str())
            .collect();
        let mut reported = HashSet::new();
        for receipt in &evidence.received {
            let task_id = receipt.facts.task_id.as_deref();
            let is_of_no_job = match task_id {
                Some(task_id) => !task_ids.contains(task_id),
                None => receipt.facts.kind == SIGN_OF_LIFE,
            };
            if !is_of_no_job
                && !stored.contains(receipt.fingerprint.as_str())
                && reported.insert(&receipt.fingerprint)
            {
                let found = format!("{} differs from what is stored", name(&receipt.facts));
                let of = task_id.unwrap_or("an event without a task id");
                self.report(Rule::IsUnchanged, of, found);
            }
        }
    }

    /// For each subscriber: what it gets of a job for the first time comes in the order of the ledger.
    fn check_order(&mut self) {
        let evidence = self.evidence;
        let mut places: HashMap<&str, (&str, usize)> = HashMap::new();
        for job in &evidence.jobs {
            for (place, event) in job.events.iter().enumerate() {
                places.insert(&event.fingerprint, (&job.task_id, place));
            }
        }
        let mut seen = HashSet::new();
        let mut latest: HashMap<(u32, &str), usize> = HashMap::new();
        for receipt in &evidence.received {
            let Some(&(task_id, place)) = places.get(receipt.fingerprint.as_str()) else {
                continue;
            };
            if !seen.insert((receipt.subscriber, receipt.fingerprint.as_str())) {
                continue;
            }
            let before = latest.entry((receipt.subscriber, task_id)).or_insert(place);
            if *before > place {
                let found = format!(
                    "{} came to subscriber {} after a later event",
                    name(&receipt.facts),
                    receipt.subscriber
                );
                self.report(Rule::KeepsOrder, task_id, found);
            }
            *before = place.max(*before);
        }
    }

    /// Gives how many documents are one too many.
    fn check_documents(&mut self) -> usize {
        let Some(documents) = &self.evidence.documents else {
            return 0;
        };
        let mut by_key: BTreeMap<(&str, &str), Vec<&StoredDocument>> = BTreeMap::new();
        for document in documents {
            let key = (document.collection.as_str(), document.key.as_str());
            by_key.entry(key).or_default().push(document);
        }
        let mut duplicates = 0;
        for ((collection, key), documents) in &by_key {
            if documents.len() > 1 {
                duplicates += documents.len() - 1;
                let found = format!("{} documents in {collection}", documents.len());
                self.report(Rule::OneDocument, key, found);
            }
        }
        let texts: HashMap<&str, &str> = documents
            .iter()
            .filter_map(|document| Some((document.key.as_str(), document.text.as_deref()?)))
            .collect();
        for event in self.evidence.jobs.iter().flat_map(|job| &job.events) {
            for (key, text) in &event.facts.words {
                match texts.get(key.as_str()) {
                    Some(found) if found == text => {}
                    Some(_) => self.report(Rule::RightDocument, key, "other words than the event"),
                    None => self.report(Rule::RightDocument, key, "no document"),
                }
            }
        }
        duplicates
    }
}

/// Whether the stored events are those that end a job in its state.
fn check_end(job: &StoredJob, ending: &Ending) -> Result<(), String> {
    let has_ended_well = job.state == "done";
    let (completed, error) = match ending {
        Ending::Text { languages } => return check_text_end(job, languages),
        Ending::Audio { .. } => ("audio_process_completed", "audio_process_error"),
        Ending::Transcription => ("transcription_completed", "transcription_error"),
        Ending::VoiceReply => ("voice_api_success", "voice_api_error"),
        Ending::VoiceJob => ("voice_translation_completed", "voice_translation_failed"),
    };
    let (completions, errors) = (count_kind(job, completed), count_kind(job, error));
    // A voice message that was heard but could be spoken in no language tells both.
    let is_partly_done = matches!(ending, Ending::Audio { .. }) && completions == 1;
    match (has_ended_well, completions, errors) {
        (true, 1, 0) | (false, 0, 1) => Ok(()),
        (false, 1, 1) if is_partly_done => Ok(()),
        _ => Err(format!(
            "{} with {completions} {completed} and {errors} {error}",
            job.state
        )),
    }
}

fn check_text_end(job: &StoredJob, languages: &[String]) -> Result<(), String> {
    let errors: Vec<&StoredEvent> = of_kind(job, "translation_error").collect();
    if errors.len() > 1 {
        return Err(format!("{} errors", errors.len()));
    }
    for language in languages {
        let answers = of_kind(job, "translation_completed")
            .filter(|event| event.facts.language.as_ref() == Some(language))
            .count();
        let is_named = errors
            .iter()
            .any(|error| error.facts.failed_languages.contains(language));
        // An error that names no language stands for all that have no answer.
        let is_covered = errors
            .iter()
            .any(|error| error.facts.failed_languages.is_empty());
        match (answers, is_named) {
            (1, false) | (0, true) => {}
            (0, false) if is_covered && job.state != "done" => {}
            _ => {
                return Err(format!(
                    "{} with {answers} answers in {language}",
                    job.state
                ));
            }
        }
    }
    if job.state != "done" && errors.is_empty() {
        return Err(format!("{} without an error event", job.state));
    }
    Ok(())
}

fn of_kind<'a>(job: &'a StoredJob, kind: &'a str) -> impl Iterator<Item = &'a StoredEvent> {
    job.events
        .iter()
        .filter(move |event| event.facts.kind == kind)
}

fn count_kind(job: &StoredJob, kind: &str) -> usize {
    of_kind(job, kind).count()
}

fn name(facts: &EventFacts) -> String {
    match &facts.language {
        Some(language) => format!("{} in {language}", facts.kind),
        None => facts.kind.clone(),
    }
}
