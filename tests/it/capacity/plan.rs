//! The first half of the formulas of `docs/capacity.md`: the resources that a load needs. Each formula is a function
//! with its name on the page. This module does not know prices.

use std::num::NonZeroUsize;

use mini_scan::consumer::settings::{stream_messages, write_limit};

use super::inputs::Inputs;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Put,
    Batch,
}

/// Whether copies cost writes. Either all of them meet their scan, in flight or in the cache of its consumer, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Copies {
    Meet,
    Miss,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// Messages per second.
    pub(super) messages: f64,
    pub(super) mode: Mode,
    pub(super) copies: Copies,
    /// Cores of one consumer, each with one thread.
    pub(super) cores: usize,
}

/// The limit of open files in a container. It exceeds every other limit here.
const OPEN_FILES: u64 = 1 << 20;
/// `--max-outstanding` is a multiple of this.
const OUTSTANDING_STEP: usize = 1000;
/// A memory limit is a multiple of this, in MiB.
const MEMORY_STEP: f64 = 64.0;
const MIB: f64 = 1024.0 * 1024.0;

impl Inputs {
    pub(super) fn message(&self) -> f64 {
        self.message_frame + self.response
    }

    pub(super) fn record(&self) -> f64 {
        self.record_frame + self.response
    }

    pub(super) fn units_per_record(&self) -> f64 {
        (self.record() / self.unit).ceil()
    }

    /// Returns the statements per write. After a statement with the wrong verb, the consumer sends another.
    pub(super) fn statements(&self, load: &Load) -> f64 {
        match (load.mode, load.copies) {
            (Mode::Put, _) | (Mode::Batch, Copies::Meet) => 1.0,
            (Mode::Batch, Copies::Miss) => 1.0 + self.missing.min(1.0 - self.missing),
        }
    }

    pub(super) fn writes(&self, load: &Load) -> f64 {
        match load.copies {
            Copies::Meet => load.messages * (1.0 - self.copies),
            Copies::Miss => load.messages,
        }
    }

    pub(super) fn write_units(&self, load: &Load) -> f64 {
        self.writes(load) * self.units_per_record() * self.statements(load)
    }

    /// Returns the write units of the index by-ip. Copies of a scan create at most one record.
    pub(super) fn index_units(&self, load: &Load) -> f64 {
        let scans = load.messages * (1.0 - self.copies);
        scans * (self.missing * self.index_units_new + (1.0 - self.missing) * self.index_units_rescan)
    }

    pub(super) fn partitions(&self, load: &Load) -> f64 {
        (self.write_units(load) / self.partition_units).ceil()
    }

    pub(super) fn warm_throughput(&self, load: &Load) -> f64 {
        self.warm(self.write_units(load))
    }

    /// Returns the warm throughput for this many write units per second.
    pub(super) fn warm(&self, units: f64) -> f64 {
        let needed = units * self.headroom;
        (needed / 1000.0).ceil().max(self.new_table_units / 1000.0) * 1000.0
    }

    /// Returns the CPU time of one write, in microseconds.
    pub(super) fn write_micros(&self, mode: Mode) -> f64 {
        let (small, large) = (64.0, 100_000.0);
        let micros_per_byte = (self.large_micros - self.put_micros) / (large - small);
        let base = match mode {
            Mode::Put => self.put_micros,
            Mode::Batch => self.put_micros * self.batch_share,
        };
        base + micros_per_byte * (self.response - small).max(0.0)
    }

    pub(super) fn cores(&self, load: &Load) -> f64 {
        let writes = self.writes(load);
        let writing = writes * self.statements(load) * self.write_micros(load.mode);
        let settling = (load.messages - writes) * self.copy_micros;
        self.headroom * (writing + settling) / 1e6
    }

    /// Returns the calls per second. Each call in flight needs a connection.
    pub(super) fn calls(&self, load: &Load) -> f64 {
        match load.mode {
            Mode::Put => self.writes(load),
            Mode::Batch => self.writes(load) * self.statements(load) / self.statements_per_call(),
        }
    }

    /// Returns the measured statements per call, or fewer if the records are large.
    pub(super) fn statements_per_call(&self) -> f64 {
        (self.call_bytes / self.record()).floor().clamp(1.0, self.writes_a_call)
    }

    /// Returns the calls in flight of all consumers together.
    pub(super) fn in_flight(&self, load: &Load) -> f64 {
        self.calls(load) * self.latency * self.headroom
    }

    /// Returns the consumers that suffice for CPU and for writes in flight. There are at least two, so that one may
    /// fail.
    pub(super) fn consumers(&self, load: &Load) -> f64 {
        let for_cpu = self.cores(load) / load.cores as f64;
        let for_writes = self.in_flight(load) / most_writes(load.cores) as f64;
        for_cpu.max(for_writes).ceil().max(2.0)
    }

    /// Returns the smallest `--max-outstanding` that allows a consumer its share of the calls in flight and of the scans
    /// in them.
    pub(super) fn max_outstanding(&self, load: &Load) -> usize {
        let consumers = self.consumers(load);
        let calls = self.in_flight(load) / consumers;
        let scans = self.writes(load) * self.latency * self.headroom / consumers;
        let fits = |max: &usize| *max as f64 >= scans && writes_in_flight(*max, load.cores) as f64 >= calls;
        (1..1000)
            .map(|steps| steps * OUTSTANDING_STEP)
            .find(fits)
            .expect("a thousand steps suffice for every load here")
    }

    /// Returns the streams of one consumer, which is its `--consumers`.
    pub(super) fn streams_of_each(&self, load: &Load) -> f64 {
        let for_bytes = self.headroom * load.messages * self.delivered() / self.stream_bytes;
        (for_bytes / self.consumers(load)).ceil().max(self.streams)
    }

    /// Returns the bytes that Pub/Sub counts for a message.
    pub(super) fn delivered(&self) -> f64 {
        self.message() + self.message_overhead
    }

    /// Returns the memory of a consumer, in bytes.
    pub(super) fn memory(&self, max_outstanding: usize, streams: f64) -> f64 {
        let megabytes_per_message = (self.memory_at_10000 - self.memory_at_1000) / 9000.0;
        let beyond = max_outstanding.saturating_sub(1000) as f64;
        let read = stream_messages(at_least_one(max_outstanding), at_least_one(streams as usize)) as f64 * streams;
        let bytes_read = (read * self.message()).min(self.outstanding_bytes);
        let bytes_decoded = (max_outstanding as f64 * self.response).min(self.outstanding_bytes);
        (self.memory_at_1000 + megabytes_per_message * beyond) * 1e6 + bytes_read + bytes_decoded
    }

    /// Returns the memory limit of a consumer, in MiB.
    pub(super) fn memory_limit(&self, load: &Load) -> f64 {
        let needed = self.memory(self.max_outstanding(load), self.streams_of_each(load)) * self.headroom / MIB;
        (needed / MEMORY_STEP).ceil() * MEMORY_STEP
    }

    /// Returns the seconds from a message's delivery until Pub/Sub no longer counts it as backlog.
    pub(super) fn until_acknowledged(&self) -> f64 {
        self.latency + self.flush
    }

    /// Returns the backlog that one consumer has in flight. The autoscaler's threshold must not be lower, because this
    /// backlog needs no further consumer.
    pub(super) fn unsettled_backlog(&self, load: &Load) -> f64 {
        let messages = load.messages / self.consumers(load) * self.until_acknowledged() * self.headroom;
        (messages / 1000.0).ceil() * 1000.0
    }

    /// Returns the ports of Cloud NAT that a node needs for one consumer. It is the next power of two above its
    /// connections.
    pub(super) fn ports(&self, load: &Load) -> f64 {
        let connections = writes_in_flight(self.max_outstanding(load), load.cores) + load.cores;
        connections.next_power_of_two() as f64
    }

    pub(super) fn addresses(&self, load: &Load) -> f64 {
        (self.consumers(load) * self.ports(load) / self.address_ports).ceil()
    }

    /// Returns the writes per second that the writes in flight allow one consumer with two cores and default flags.
    pub(super) fn default_rate(&self, mode: Mode) -> f64 {
        let calls = writes_in_flight(self.outstanding_default as usize, 2) as f64 / self.latency;
        match mode {
            Mode::Put => calls,
            // The outstanding messages are the lower limit here.
            Mode::Batch => (calls * self.statements_per_call()).min(self.outstanding_default / self.latency),
        }
    }
}

/// Returns the expected writes for `copies` equal messages, distributed at random to consumers that cache their writes.
pub(super) fn writes_of_copies(copies: f64, consumers: f64) -> f64 {
    consumers * (1.0 - (1.0 - 1.0 / consumers).powf(copies))
}

fn at_least_one(value: usize) -> NonZeroUsize {
    NonZeroUsize::new(value).unwrap_or(NonZeroUsize::MIN)
}

/// Returns the program's own limit. It ignores the connections of the streams, which are few.
fn writes_in_flight(max_outstanding: usize, threads: usize) -> usize {
    write_limit(at_least_one(max_outstanding), NonZeroUsize::MIN, at_least_one(threads), OPEN_FILES).get()
}

fn most_writes(threads: usize) -> usize {
    writes_in_flight(usize::MAX, threads)
}
