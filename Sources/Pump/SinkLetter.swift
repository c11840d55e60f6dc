import EventLog
import FileIO
package import Records

/// A record that a sink has refused for good, and why; `docs/formats/dead-letters.md`.
package struct SinkLetter: Sendable, Equatable {
    /// Its number in the sink's dead letters, from 1 on.
    package var id: UInt64
    /// The log of the record.
    package var log: LogID
    /// The record's offset there.
    package var offset: Offset
    /// Why it was refused, in one word.
    package var reason: String
    /// What the sink said.
    package var detail: String
    /// When the record was written to the log, µs since the epoch.
    package var appendTime: Int64
    /// When it became a dead letter, µs since the epoch.
    package var parkedAt: Int64
    /// The record.
    package var record: [UInt8]

    /// Describes a letter.
    package init(
        id: UInt64 = 0,
        log: LogID,
        offset: Offset,
        reason: String,
        detail: String,
        appendTime: Int64,
        parkedAt: Int64 = 0,
        record: [UInt8]
    ) {
        self.id = id
        self.log = log
        self.offset = offset
        self.reason = reason
        self.detail = detail
        self.appendTime = appendTime
        self.parkedAt = parkedAt
        self.record = record
    }

    /// The record that it is about.
    package var name: LetterName { LetterName(log: log, offset: offset) }
}

/// Which record a letter is about.
package struct LetterName: Hashable, Sendable {
    /// Its log.
    package let log: LogID
    /// Its offset there.
    package let offset: Offset

    /// Names a record.
    package init(log: LogID, offset: Offset) {
        self.log = log
        self.offset = offset
    }
}

/// What became of a letter.
package enum LetterOutcome: UInt8, Sendable {
    /// The sink has taken the record after all.
    case redriven = 1
    /// Somebody gave it up.
    case dropped = 2
}

/// A line of the file `settled`.
struct SettledLetter: Equatable {
    var name: LetterName
    var outcome: LetterOutcome
    var settledAt: Int64
}

/// The bytes of both kinds of files: a first word, then frames with a length and a checksum.
enum LetterFrames {
    /// The first word of a file of letters.
    static let letters = Array("sluiceL1".utf8)
    /// The first word of a file of settlements.
    static let settled = Array("sluiceS1".utf8)
    /// Length and checksum.
    static let headBytes = 8
    /// The longest detail, in bytes; chosen.
    static let detailBytesMax = 500
    /// No frame is longer: a record has at most 1 MiB. Chosen.
    private static let payloadBytesMax = 2 << 20

    /// What is in a file.
    struct Scan {
        /// The payload of each valid frame.
        var payloads: [Range<Int>] = []
        /// Whether the file is what a writer has left, up to its last byte.
        var isWhole = true
    }

    /// Finds the valid frames of a file; damaged bytes between them are passed over.
    static func scan(_ bytes: [UInt8], _ word: [UInt8]) -> Scan {
        var scan = Scan()
        guard bytes.starts(with: word) else {
            scan.isWhole = bytes.isEmpty
            return scan
        }
        let span = bytes.span.raw
        var at = word.count
        while at < bytes.count {
            if let payload = payload(in: span, at: at) {
                scan.payloads.append(payload)
                at = payload.upperBound
            } else {
                scan.isWhole = false
                at += 1
            }
        }
        return scan
    }

    /// The payload of the frame at a place; nil if none is whole there.
    private static func payload(in bytes: RawSpan, at start: Int) -> Range<Int>? {
        guard bytes.byteCount - start >= headBytes else { return nil }
        let length = Int(bytes.littleEndian(UInt32.self, at: start))
        let from = start + headBytes
        guard (1...payloadBytesMax).contains(length), length <= bytes.byteCount - from else {
            return nil
        }
        let sum = bytes.littleEndian(UInt32.self, at: start + 4)
        let payload = bytes.extracting(from..<(from + length))
        return Checksum.crc32c(payload) == sum ? from..<(from + length) : nil
    }

    /// Appends a frame.
    static func append(_ payload: [UInt8], to bytes: inout [UInt8]) {
        bytes.appendLittleEndian(UInt32(payload.count))
        bytes.appendLittleEndian(Checksum.crc32c(payload))
        bytes += payload
    }
}

extension SinkLetter {
    /// The payload of its frame.
    var payload: [UInt8] {
        var bytes: [UInt8] = []
        bytes.appendLittleEndian(id)
        bytes.append(log, offset)
        bytes.appendLittleEndian(UInt64(bitPattern: appendTime))
        bytes.appendLittleEndian(UInt64(bitPattern: parkedAt))
        let reason = Array(reason.utf8.prefix(255))
        bytes.append(UInt8(reason.count))
        bytes += reason
        let detail = Array(detail.utf8.prefix(LetterFrames.detailBytesMax))
        bytes.appendLittleEndian(UInt16(detail.count))
        bytes += detail
        bytes += record
        return bytes
    }

    /// Reads a payload; nil if it is none of this version.
    init?(_ bytes: RawSpan) {
        guard bytes.byteCount >= 51, let name = LetterName(bytes, at: 8) else { return nil }
        let reasonEnd = 49 + Int(bytes.byte(at: 48))
        guard reasonEnd + 2 <= bytes.byteCount else { return nil }
        let detailFrom = reasonEnd + 2
        let detailEnd = detailFrom + Int(bytes.littleEndian(UInt16.self, at: reasonEnd))
        guard detailEnd <= bytes.byteCount else { return nil }
        self.init(
            id: bytes.littleEndian(UInt64.self, at: 0),
            log: name.log,
            offset: name.offset,
            reason: String(decoding: bytes.array(49..<reasonEnd), as: UTF8.self),
            detail: String(decoding: bytes.array(detailFrom..<detailEnd), as: UTF8.self),
            appendTime: bytes.littleEndian(Int64.self, at: 32),
            parkedAt: bytes.littleEndian(Int64.self, at: 40),
            record: bytes.array(detailEnd..<bytes.byteCount)
        )
    }
}

extension SettledLetter {
    /// The payload of its frame.
    var payload: [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(name.log, name.offset)
        bytes.append(outcome.rawValue)
        bytes.appendLittleEndian(UInt64(bitPattern: settledAt))
        return bytes
    }

    /// Reads a payload; nil if it is none of this version.
    init?(_ bytes: RawSpan) {
        guard bytes.byteCount == 33, let name = LetterName(bytes, at: 0),
            let outcome = LetterOutcome(rawValue: bytes.byte(at: 24))
        else { return nil }
        self.init(
            name: name,
            outcome: outcome,
            settledAt: bytes.littleEndian(Int64.self, at: 25)
        )
    }
}

extension LetterName {
    /// Reads 24 bytes.
    fileprivate init?(_ bytes: RawSpan, at start: Int) {
        guard let log = LogID(bytes: bytes.array(start..<(start + 16)).span) else { return nil }
        self.init(
            log: log,
            offset: Offset(bytes.littleEndian(UInt64.self, at: start + 16))
        )
    }
}

extension [UInt8] {
    /// Appends a record's name, 24 bytes.
    fileprivate mutating func append(_ log: LogID, _ offset: Offset) {
        let bytes = log.bytes
        for index in bytes.indices { append(bytes[index]) }
        appendLittleEndian(offset.rawValue)
    }
}

extension RawSpan {
    /// A copy of some bytes.
    func array(_ range: Range<Int>) -> [UInt8] {
        range.map { byte(at: $0) }
    }
}
