import EventLog
import FileIO
import Logging
import Records
import Telemetry

/// What becomes of a message.
extension KafkaTransport {
    /// Takes a message, or puts it aside.
    func receive(_ message: ConsumedMessage, _ key: Span<UInt8>, _ value: Span<UInt8>) {
        guard let partition = partitions[message.partition] else { return }
        messageCount &+= 1  // 64 bits last
        partition.quietSince = polledAt
        partition.isGone = false
        metrics.messages.add()
        if !isAttending, stash.isEmpty, take(message, key, value, of: partition) { return }
        stash.append(message, key, value, epoch: partition.epoch)
        if !isAttending, let log = message.headers.log, logs[log] == nil { unasked.insert(log) }
    }

    /// Takes a message; false if the database has to be asked about its log first.
    func take(
        _ message: ConsumedMessage,
        _ key: Span<UInt8>,
        _ value: Span<UInt8>,
        of partition: AssignedPartition
    ) -> Bool {
        guard admits(message, to: partition) else { return true }
        guard let identity = identify(message, key, value) else {
            advance(partition, over: message)
            return true
        }
        guard let log = known(identity.log) else {
            unasked.insert(identity.log)
            return false
        }
        if identity.offset > log.knownEnd {
            switch assess(identity, log, partition, place: message.offset) {
            case .take: break
            case .ask: return false
            case .rewind: return true
            }
        }
        advance(partition, over: message)
        if message.hasValue {
            gather(message, value, identity, log)
        } else {
            mark(message, identity, log)
        }
        return true
    }

    /// The log, if the database has been asked about it.
    @inline(__always)
    private func known(_ id: LogID) -> KafkaLog? {
        if let latestLog, latestLog.id == id { return latestLog }
        guard let log = logs[id] else { return nil }
        latestLog = log
        return log
    }

    /// What to do with an offset above the known end of its log: some below it are missing.
    private enum Gap { case take, ask, rewind }

    /// Asks the database first: somebody else may have folded what is missing. If nobody has, the
    /// partition may be another one than it was, and is read from its beginning, once: what is
    /// remembered of a log may be forgotten on the way back to the same place.
    private func assess(
        _ identity: MessageIdentity,
        _ log: KafkaLog,
        _ partition: AssignedPartition,
        place: Int64
    ) -> Gap {
        let end = log.knownEnd
        guard log.gapSought != end, isNear(identity.offset, log) else { return .take }
        guard log.gapAsked == end else {
            log.gapAsked = end
            unasked.insert(log.id)
            return .ask
        }
        log.gapSought = end
        guard now >= partition.rewindableAt, place >= partition.soughtBelow else { return .take }
        partition.soughtBelow = place &+ 1  // offsets of a broker are far below the limit
        startRewind(
            of: partition,
            [
                "log": "\(log.id)", "known_end": "\(end)",
                "found": "\(identity.offset)",
            ]
        )
        return .rewind
    }

    // MARK: Who it is

    /// The record that a message carries or its marker names; nil if it was parked, because it does
    /// not say so, or says different things in different places.
    private func identify(
        _ message: ConsumedMessage,
        _ key: Span<UInt8>,
        _ value: Span<UInt8>
    ) -> MessageIdentity? {
        guard let identity = message.headers.identity else {
            park(message, value, .unidentified, "no log and offset in the headers")
            return nil
        }
        guard LogID(text: key) == identity.log else {
            park(message, value, .identityMismatch, "another key")
            return nil
        }
        guard message.hasValue else {
            guard let marker = message.headers.marker, marker != .unknown else {
                park(message, value, .invalidMarker, "no value, and no marker that is known")
                return nil
            }
            return identity
        }
        guard message.headers.marker == nil else {
            park(message, value, .invalidMarker, "a marker with a value")
            return nil
        }
        guard value.count <= configuration.messageBytesMax else {
            park(message, value, .tooLarge, "\(value.count) bytes")
            return nil
        }
        guard let carried = MessageIdentity(recordPrefix: value) else {
            park(message, value, .unidentified, "the record does not begin with an identity")
            return nil
        }
        guard carried == identity else {
            let other = "the record is \(carried.log) \(carried.offset)"
            park(message, value, .identityMismatch, other)
            return nil
        }
        return identity
    }

    // MARK: Records

    /// Gathers a record with those before it.
    private func gather(
        _ message: ConsumedMessage,
        _ value: Span<UInt8>,
        _ identity: MessageIdentity,
        _ log: KafkaLog
    ) {
        let offset = identity.offset
        let hour = message.timestamp / 3_600_000
        if !log.continues(offset, message.partition, hour: hour) {
            flush(log)
            if log.seen.contains(offset) {
                metrics.recordsDuplicate.add()
                return
            }
            guard mayCount(offset, count: 1, of: log, message, value) else { return }
            if !log.isOpen { openLogs.append(log) }
            log.isOpen = true
            let appendTime = appendTime(of: message)
            log.begin(offset, message.partition, appendTime: appendTime, hour: hour)
        }
        log.append(value, place: message.offset)
        openBytes += value.count
        openCount += 1
    }

    /// Folds the records of a log that were gathered, but those that are folded already and those
    /// that it is not trusted with.
    func flush(_ log: KafkaLog) {
        guard !log.isIdle else { return }
        let partition = log.partition
        let (batch, places) = log.takeBatch()
        openBytes -= batch.byteCount - 4 * batch.count
        openCount -= batch.count
        let range = batch.baseOffset.rawValue..<batch.nextOffset.rawValue
        var wanted = OffsetRanges(range).subtracting(log.seen)
        metrics.recordsDuplicate.add(UInt64(range.count) - wanted.offsetCount)
        guard !wanted.isEmpty else { return }
        let item = RetainedBatch.Item.records(batch)
        current.output.fold(item, of: log.id, wanted: wanted, latest: latest, &log.trust)
        if !log.trust.refused.isEmpty {
            wanted = wanted.subtracting(refuse(batch, places, partition, log))
            guard !wanted.isEmpty else { return }
        }
        current.batch.append(item, of: log.id, wanted: wanted.ranges)
        log.seen.formUnion(wanted)
        if log.trust.isOpen, !log.seen.contains(0) { unbound.insert(log.id) }
    }

    /// Parks the records that a log may not bill; returns their offsets.
    private func refuse(
        _ batch: LogBatch,
        _ places: [Int64],
        _ partition: Int32,
        _ log: KafkaLog
    ) -> OffsetRanges {
        var refused = OffsetRanges()
        for offset in log.trust.refused { refused.insert(offset..<(offset + 1)) }
        log.trust.forgetRefused()
        batch.forEach { offset, bytes in
            guard refused.contains(offset.rawValue) else { return }
            let index = Int(offset.rawValue - batch.baseOffset.rawValue)
            park(
                partition,
                places[index],
                bytes.octets,
                .wrongOrg,
                "claims to be \(log.id) \(offset)"
            )
        }
        return refused
    }

    // MARK: Markers

    /// Takes offsets without records, or a log's end.
    private func mark(
        _ message: ConsumedMessage,
        _ identity: MessageIdentity,
        _ log: KafkaLog
    ) {
        flush(log)
        if message.headers.marker == .end {
            let end = identity.offset
            guard isNear(end, log) else {
                parkAhead(message, identity)
                return
            }
            if let taken = log.endTaken, taken >= end { return }
            log.endTaken = end
            let item = RetainedBatch.Item.end(end, seenAt: time.wallMicroseconds())
            current.batch.append(item, of: log.id, wanted: [])
            current.output.fold(item, of: log.id, wanted: OffsetRanges(), latest: latest)
            return
        }
        guard let until = message.headers.until, until > identity.offset,
            let reason = message.headers.reason
        else {
            park(message, Span(), .invalidMarker, "a skip marker without end or reason")
            return
        }
        let range = identity.offset..<until
        guard isNear(until, log) else {
            parkAhead(message, identity)
            return
        }
        let wanted = OffsetRanges(range).subtracting(log.seen)
        guard !wanted.isEmpty,
            mayCount(range.lowerBound, count: UInt64(range.count), of: log, message, Span())
        else { return }
        let item = RetainedBatch.Item.skip(range, reason, appendTime: appendTime(of: message))
        current.batch.append(item, of: log.id, wanted: wanted.ranges)
        current.output.fold(item, of: log.id, wanted: wanted, latest: latest)
        log.seen.formUnion(wanted)
    }

    // MARK: Limits

    /// Whether offsets may be accounted for; parks the message if not.
    private func mayCount(
        _ first: UInt64,
        count: UInt64,
        of log: KafkaLog,
        _ message: ConsumedMessage,
        _ value: Span<UInt8>
    ) -> Bool {
        guard isNear(first, log) else {
            park(message, value, .offsetAhead, "\(first) is far above \(log.knownEnd)")
            return false
        }
        if log.seen.ranges.count >= configuration.rangesPerLogMax,
            !log.seen.touches(first..<(first + count))
        {
            park(message, value, .fragmented, "\(log.seen.ranges.count) ranges are folded")
            return false
        }
        return true
    }

    /// Whether an offset is not too far above what is known of the log.
    private func isNear(_ offset: UInt64, _ log: KafkaLog) -> Bool {
        // An `int8multirange` ends at 2^63.
        guard offset < 1 << 62 else { return false }
        let end = log.knownEnd
        return offset <= end || offset - end <= configuration.offsetsAheadMax
    }

    private func parkAhead(_ message: ConsumedMessage, _ identity: MessageIdentity) {
        park(message, Span(), .offsetAhead, "a marker of \(identity.log) at \(identity.offset)")
    }

    /// The append time of a message that has one, µs since the epoch.
    private func appendTime(of message: ConsumedMessage) -> Int64 {
        // To the end of year 9999, as PostgreSQL stores it.
        guard message.timestamp > 0, message.timestamp < 253_402_300_799_000 else {
            return time.wallMicroseconds()
        }
        return message.timestamp * 1_000
    }

    // MARK: Dead letters

    /// Parks a message that is not trusted; no offset is accounted for.
    private func park(
        _ message: ConsumedMessage,
        _ value: Span<UInt8>,
        _ reason: DeadLetterReason,
        _ detail: String
    ) {
        var detail = detail
        if let identity = message.headers.identity {
            detail += "; claims to be \(identity.log) \(identity.offset)"
        }
        park(message.partition, message.offset, value, reason, detail)
    }

    /// Parks what lay at a place of the topic, under the nil log id: nothing else's place is taken.
    private func park(
        _ partition: Int32,
        _ place: Int64,
        _ value: Span<UInt8>,
        _ reason: DeadLetterReason,
        _ detail: String
    ) {
        metrics.untrusted.add()
        let kept = min(value.count, configuration.untrustedBytesMax)
        let letter = DeadLetter(
            log: LogID(high: 0, low: 0),
            offset: UInt64(truncatingIfNeeded: partition) << 40
                | UInt64(truncatingIfNeeded: place) & 0xFF_FFFF_FFFF,
            reason: reason,
            detail: kept < value.count ? "\(detail); \(value.count) bytes, cut" : detail,
            record: value.extracting(0..<kept).copied()
        )
        current.park(letter)
    }
}

extension MessageIdentity {
    /// Reads the fields that every record begins with: schema version, log id and offset.
    @inline(__always)
    init?(recordPrefix bytes: Span<UInt8>) {
        var reader = WireReader(bytes)
        do throws(RecordError) {
            guard try reader.tag() == 8 else { return nil }
            _ = try reader.varint()
            guard try reader.tag() == 18 else { return nil }
            let range = try reader.delimited()
            guard try reader.tag() == 24 else { return nil }
            let offset = try reader.varint()
            guard let log = LogID(bytes: bytes.extracting(range.range)) else { return nil }
            self.init(log: log, offset: offset)
        } catch { return nil }
    }
}
