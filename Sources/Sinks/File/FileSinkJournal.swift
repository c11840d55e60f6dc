import EventLog
import FileIO
import Records

/// What a file sink has written: the journal's contents.
///
/// Text, one line each, all ending in a space and the CRC32C of the line before it:
///
/// | line | meaning |
/// |---|---|
/// | `sluice-file-sink 1 <sequence> <begun at> <file name>` | the first line: what is written |
/// | `p <log> <next offset>` | everything below is in the files |
/// | `c <length> <log>:<next offset> …` | the file is so long, and holds up to these offsets |
///
/// The first line, the `p` lines and one `c` line are written at once, by replacing the file; a
/// journal without all of these is none. More `c` lines are appended and synced. Reading ends at
/// the first line that is not valid, as a crash leaves the last one.
struct FileSinkJournal: Equatable {
    /// Counts the files.
    var sequence: UInt64 = 0
    /// When the file was begun, µs since the epoch.
    var begunAt: Int64 = 0
    /// The name that the file will have when it is finished; `-` before the first one.
    var fileName = "-"
    /// How many of its bytes count.
    var length: UInt64 = 0
    /// For each log, the offset up to which everything is in the files.
    var positions: [LogID: UInt64] = [:]

    /// Whether a line that is not valid was not the last one, or not one that a crash cuts short.
    var isDamaged = false

    private static let magic = "sluice-file-sink"
    /// Beyond this a number is none that a sink writes: it leaves room to add to.
    private static let numberMax: UInt64 = 1 << 53

    /// The whole journal as it is written anew.
    var snapshot: [UInt8] {
        var text = Self.line("\(Self.magic) 1 \(sequence) \(begunAt) \(fileName)")
        for (log, next) in positions.sorted(by: { $0.key < $1.key }) {
            text += Self.line("p \(log) \(next)")
        }
        text += Self.line("c \(length)")
        return Array(text.utf8)
    }

    /// The line of one commit.
    static func commit(_ length: UInt64, _ changed: [LogID: UInt64]) -> [UInt8] {
        var body = "c \(length)"
        for (log, next) in changed.sorted(by: { $0.key < $1.key }) { body += " \(log):\(next)" }
        return Array(line(body).utf8)
    }

    private static func line(_ body: String) -> String {
        body + " " + checksum(body) + "\n"
    }

    private static func checksum(_ body: String) -> String {
        var text = ""
        let sum = Checksum.crc32c(Array(body.utf8))
        for shift in [24, 16, 8, 0] as [UInt32] {
            Hexadecimal.append(UInt8(truncatingIfNeeded: sum >> shift), to: &text)
        }
        return text
    }

    init() {}

    /// Reads a journal; nil when what is written at once is not all there.
    init?(_ bytes: [UInt8]) {
        var rest = bytes[...]
        var isFirst = true
        var hasLength = false
        while !rest.isEmpty {
            let end = rest.firstIndex(of: UInt8(ascii: "\n"))
            let line = rest[..<(end ?? rest.endIndex)]
            rest = rest[(rest.startIndex + line.count + (end == nil ? 0 : 1))...]
            let fields = Self.fields(line)
            guard let fields, isFirst ? begin(fields) : take(fields) else {
                isDamaged = !rest.isEmpty || (end != nil && !line.contains(0))
                break
            }
            isFirst = false
            if fields.first == "c" { hasLength = true }
        }
        if !hasLength { return nil }
    }

    /// The fields of a line whose checksum is right.
    private static func fields(_ line: ArraySlice<UInt8>) -> [Substring]? {
        guard let space = line.lastIndex(of: UInt8(ascii: " ")) else { return nil }
        let body = String(decoding: line[..<space], as: UTF8.self)
        guard line[(space + 1)...].elementsEqual(checksum(body).utf8),
            line[..<space].elementsEqual(body.utf8)
        else { return nil }
        return body.split(separator: " ")
    }

    private mutating func begin(_ fields: [Substring]) -> Bool {
        guard fields.count == 5, fields[0] == Self.magic, fields[1] == "1",
            let sequence = UInt64(fields[2]), sequence < Self.numberMax,
            let begunAt = Int64(fields[3]), begunAt.magnitude < Self.numberMax,
            Self.isOwn(fields[4])
        else { return false }
        self.sequence = sequence
        self.begunAt = begunAt
        fileName = String(fields[4])
        return true
    }

    /// Whether a name is one that a sink gives.
    private static func isOwn(_ name: Substring) -> Bool {
        if name == "-" { return true }
        return name.hasPrefix("records-") && !name.utf8.contains(UInt8(ascii: "/"))
            && (name.hasSuffix(".ndjson") || name.hasSuffix(".ndjson.gz"))
    }

    private mutating func take(_ fields: [Substring]) -> Bool {
        switch fields.first {
        case "p":
            guard fields.count == 3, let log = LogID(String(fields[1])),
                let next = UInt64(fields[2])
            else { return false }
            positions[log] = next
        case "c":
            guard fields.count >= 2, let length = UInt64(fields[1]), length < Self.numberMax
            else { return false }
            for field in fields.dropFirst(2) {
                let parts = field.split(separator: ":")
                guard parts.count == 2, let log = LogID(String(parts[0])),
                    let next = UInt64(parts[1])
                else { return false }
                positions[log] = next
            }
            self.length = length
        default: return false
        }
        return true
    }
}
