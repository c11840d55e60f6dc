import EventLog
import FileIO
import Logging
import Records
import Sinks
import Telemetry

/// What a sink refuses for good.
extension SinkDriver {
    /// Keeps the records that a sink has refused, so that the stream can go on without them.
    ///
    /// - Parameters:
    ///   - result: What the sink said.
    ///   - batch: What it was given.
    /// - Returns: The result; if the letters could not be stored, what was refused is to be sent
    ///   again, unless the sink is a transport, to which a skip marker is sent in any case.
    func park(_ result: DeliveryResult, of batch: SinkBatch) -> DeliveryResult {
        var letters: [SinkLetter] = []
        for case .records(let records) in batch.items {
            batch.forEachRecord(in: records) { offset, bytes in
                guard let reason = result.rejection(of: offset) else { return }
                letters.append(
                    SinkLetter(
                        log: batch.log,
                        offset: offset,
                        reason: reason.rawValue,
                        detail: result.reason ?? "",
                        appendTime: records.appendTime,
                        record: bytes.array(0..<bytes.byteCount)
                    )
                )
            }
        }
        guard !letters.isEmpty else { return result }
        do throws(LetterError) {
            let stored = try self.letters.park(letters, at: time.wallMicroseconds())
            metrics.deadLetters.add(UInt64(stored))
            note(letters, of: batch.log, .deadLettered)
            return result
        } catch {
            metrics.deadLetterFailures.add(UInt64(letters.count))
            logger.error(
                "dead_letters_not_stored",
                metadata: [
                    "sink": "\(pumped.name)", "log": "\(batch.log)", "count": "\(letters.count)",
                    "first_offset": "\(letters[0].offset)", "error": "\(error)",
                ]
            )
            if pumped.sink.traits.isTransport {
                note(letters, of: batch.log, .skipped)
                return result
            }
            return result.retryingRejected("refused records could not be put aside: \(error)")
        }
    }

    private func note(_ letters: [SinkLetter], of log: LogID, _ fate: PumpedLog.Fate) {
        for letter in letters {
            let offset = letter.offset.rawValue
            logs[log]?.note(offset..<(offset + 1), fate)
        }
    }
}
