package import EventLog
import FileIO
package import Records

/// Writes seeded records straight into a data directory, each call as a log of its own.
package struct LogLoad: Sendable {
    /// The population that the records are drawn from.
    package var profile: TrafficProfile
    /// How many records to write.
    package var records: Int
    /// Decides every record.
    package var seed: UInt64
    /// Event time of the first record, µs since 1970.
    package var start: Int64
    /// Event time between two records, µs.
    package var stepMicroseconds: Int64
    /// How many values the tag `tenant` of the records has; none if 0.
    package var tenants = 0

    /// A plan.
    package init(
        profile: TrafficProfile,
        records: Int,
        seed: UInt64,
        start: Int64,
        stepMicroseconds: Int64
    ) {
        self.profile = profile
        self.records = records
        self.seed = seed
        self.start = start
        self.stepMicroseconds = stepMicroseconds
    }

    /// Writes and publishes the log; it is complete, synced and closed when this returns.
    ///
    /// Blocking: call it on a thread of your own. `onProgress` gets the number of records so far.
    ///
    /// - Returns: The id of the new log, and the offset after its last record.
    package func write(
        into directory: LogDirectory,
        _ configuration: LogConfiguration,
        onProgress: (Int) -> Void = { _ in }
    ) throws(EventLogError) -> (log: LogID, end: Offset) {
        var randomness = SystemRandom()
        let log = LogID(random: &randomness)
        var synthesizer = RecordSynthesizer(
            profile,
            seed: seed,
            start: start,
            stepMicroseconds: stepMicroseconds
        )
        synthesizer.tenants = tenants
        var end = Offset.zero
        _ = try directory.writeSealedLog(id: log, configuration) {
            writer throws(EventLogError) in
            try begin(writer)
            for index in 0..<records {
                try writer.append(eventTime: synthesizer.eventTime) {
                    synthesizer.encodeNext(into: &$0)
                }
                if index & 0xFFFF == 0xFFFF { onProgress(index + 1) }
            }
            end = writer.nextOffset
        }
        return (log, end)
    }

    /// Appends the record that begins every log; it declares whose requests follow.
    private func begin(_ writer: SealedLogWriter) throws(EventLogError) {
        try writer.append(eventTime: start) { encoder in
            encoder.put(.kind, UInt64(RecordKind.logStart.rawValue))
            encoder.put(.completedAt, signed: start)
            for org in Set(profile.apis.map(\.org)).sorted(by: { $0.lexicographicallyPrecedes($1) })
            {
                encoder.putTag(key: RecordView.orgsTag.utf8.span, value: org.span)
            }
        }
    }
}
