/// What is known of how far the primary and its replicas are, and from that whether a replica may
/// answer; positions are bytes of the write-ahead log (`pg_lsn` less `0/0`).
///
/// A replica may answer when it has replayed
/// - everything that an answer of this server has shown before, so that no answer is older than
///   what the one before promised, and
/// - everything that the primary had some time ago, the bound on its lag, so that answers do not
///   grow old where nobody else asks.
///
/// While the primary cannot be asked, its last known position stands for it.
package struct ReplicaPositions: Equatable, Sendable {
    /// Where the primary was, and when by its own clock: everything committed by then lies below.
    package struct Sample: Equatable, Sendable {
        /// What the primary had flushed.
        package var position: Int64
        /// Microseconds since the Unix epoch, read before the position.
        package var time: Int64

        /// A place at a time.
        package init(position: Int64, time: Int64) {
            self.position = position
            self.time = time
        }
    }

    /// Largest accepted lag, microseconds.
    package let lagMax: Int64

    /// What answers of this server have shown.
    package private(set) var promised: Int64 = 0

    /// Where the primary was, oldest first; the first one is as old as the bound asks for.
    package private(set) var samples: [Sample] = []

    /// Nothing known.
    package init(lagMax: Int64) { self.lagMax = lagMax }

    /// Notes where the primary is.
    package mutating func note(_ sample: Sample) {
        if let last = samples.last, sample.position < last.position || sample.time < last.time {
            // It has been restored from a backup, or its clock was set back: what was known says
            // nothing any more, and its state is the one that counts.
            samples = []
            promised = min(promised, sample.position)
        }
        samples.append(sample)
        while samples.count > 1, samples[1].time <= sample.time - lagMax { samples.removeFirst() }
    }

    /// Notes that an answer shows what lies below `position`, and perhaps no more.
    package mutating func promise(_ position: Int64) { promised = max(promised, position) }

    /// Up to when everything of the primary is in what a replica has replayed, microseconds since
    /// the Unix epoch; nil if it may not answer.
    package func asOf(_ replayed: Int64) -> Int64? {
        guard replayed >= promised, let lag = lag(replayed), lag <= lagMax else { return nil }
        return samples.last { $0.position <= replayed }?.time
    }

    /// How far a replica is behind the primary's last known state, microseconds; nil if by more
    /// than what is remembered.
    package func lag(_ replayed: Int64) -> Int64? {
        guard let latest = samples.last,
            let reached = samples.last(where: { $0.position <= replayed })
        else { return nil }
        return latest.time - reached.time
    }
}
