package import EventLog
package import Records

/// What became of the offsets of one log, or of all logs, on the way to one sink:
/// `appended = earlier + delivered + filtered + sampledOut + deadLettered + skipped + pending`.
package struct SinkAccount: Equatable, Sendable {
    /// Offsets that are durable in the log.
    package var appended: UInt64 = 0
    /// Done before anybody counted: by a version that did not, or before the log was sent again.
    package var earlier: UInt64 = 0
    /// Records that the sink has acknowledged.
    package var delivered: UInt64 = 0
    /// Offsets that a filter left out.
    package var filtered: UInt64 = 0
    /// Offsets that sampling left out.
    package var sampledOut: UInt64 = 0
    /// Records that the sink refused for good, whatever became of them since.
    package var deadLettered: UInt64 = 0
    /// Offsets without a record.
    package var skipped: UInt64 = 0
    /// What is still to be done.
    package var pending: UInt64 = 0

    /// Nothing.
    package init() {}

    /// The account of a log.
    ///
    /// - Parameters:
    ///   - appended: The offset after the last durable one.
    ///   - checkpoint: Everything below is done; a transport stores one more than the end.
    ///   - tally: What was counted of that.
    package init(appended: UInt64, checkpoint: UInt64, tally: ConsumerTally) {
        self.appended = appended
        let done = min(checkpoint, appended)
        earlier = min(tally.from, done)
        filtered = tally.filtered
        sampledOut = tally.sampledOut
        deadLettered = tally.deadLettered
        skipped = tally.skipped
        // Less only if somebody has changed a file; the account does not balance then.
        delivered = done - earlier >= tally.total ? done - earlier - tally.total : 0
        pending = appended - done
    }

    /// By how much the account does not balance; 0 if it does.
    package var unaccounted: Int64 {
        let sum = earlier &+ delivered &+ filtered &+ sampledOut &+ deadLettered &+ skipped
        return Int64(truncatingIfNeeded: appended &- sum &- pending)
    }

    /// The sum of two accounts.
    package static func + (left: SinkAccount, right: SinkAccount) -> SinkAccount {
        var sum = left
        sum.appended += right.appended
        sum.earlier += right.earlier
        sum.delivered += right.delivered
        sum.filtered += right.filtered
        sum.sampledOut += right.sampledOut
        sum.deadLettered += right.deadLettered
        sum.skipped += right.skipped
        sum.pending += right.pending
        return sum
    }

    /// The accounts of a sink by log, of the logs that are in a directory. Blocks.
    ///
    /// - Parameters:
    ///   - consumer: The consumer of the sink's checkpoints.
    ///   - directory: The logs.
    package static func all(
        of consumer: String,
        in directory: LogDirectory
    ) throws(EventLogError) -> [(log: LogID, account: SinkAccount)] {
        var accounts: [(log: LogID, account: SinkAccount)] = []
        for log in try directory.logs() {
            let (checkpoint, tally) = directory.tally(of: consumer, in: log.id)
            let end = max(log.endOffset ?? log.durableOffset, log.durableOffset)
            accounts.append(
                (
                    log.id,
                    SinkAccount(
                        appended: end.rawValue,
                        checkpoint: checkpoint.rawValue,
                        tally: tally
                    )
                )
            )
        }
        return accounts
    }
}
