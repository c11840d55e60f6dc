import FileIO
import Records

/// What is in the files of a directory, whoever wrote them.
extension FileSinkWriter {
    /// Bytes of a file that are looked at together.
    static let pieceBytes = 1 << 20

    /// Reads every line's identity; nil when this is the pump's own sink, which has no need of it.
    ///
    /// The pump may be writing: what it had acknowledged before this call is found, wherever its
    /// file has gone meanwhile.
    func holdings() throws(SinkError) -> SinkHoldings? {
        guard configuration.isReplay else { return nil }
        var holdings = SinkHoldings()
        do throws(FileIOError) {
            for name in try fileSystem.list(directory) where name.hasPrefix("records-") {
                let base = name.hasSuffix(".part") ? String(name.dropLast(5)) : name
                guard base.hasSuffix(".ndjson") || base.hasSuffix(".ndjson.gz") else { continue }
                if let line = try read(name, orElse: base, into: &holdings) {
                    throw FileIOError(
                        call: "read line \(line) of",
                        path: "\(directory)/\(base)",
                        code: FileIOError.corruptData
                    )
                }
            }
        } catch {
            throw SinkError(
                code: "unreadable",
                message: "\(error): what the directory holds is not known; repair the file or move "
                    + "it away"
            )
        }
        holdings.sort()
        return holdings
    }

    /// Reads one file, under its other name if it has been finished meanwhile.
    ///
    /// - Returns: The number of a line that is none of a sink; nil when all are.
    private func read(
        _ name: String,
        orElse finished: String,
        into holdings: inout SinkHoldings
    ) throws(FileIOError) -> Int? {
        var isPart = name != finished
        let file: any File
        do throws(FileIOError) {
            file = try fileSystem.open("\(directory)/\(name)", .read)
        } catch {
            guard isPart, error.isNotFound else { throw error }
            isPart = false
            file = try fileSystem.open("\(directory)/\(finished)", .read)
        }
        defer { file.close() }
        let reader = try GzipReader(file)
        var rest: [UInt8] = []
        var lines = 0
        while true {
            let count: Int
            do throws(FileIOError) {
                count = try reader.read(Self.pieceBytes, appendingTo: &rest)
            } catch {
                // The end of what is being written is not acknowledged yet.
                guard isPart, error.code == FileIOError.corruptData else { throw error }
                return nil
            }
            guard count > 0 else { return rest.isEmpty || isPart ? nil : lines + 1 }
            var start = 0
            while let end = rest[start...].firstIndex(of: UInt8(ascii: "\n")) {
                lines += 1
                guard let identity = LineIdentity(rest, start..<end) else {
                    return lines
                }
                holdings.add(identity.log, identity.offset)
                start = end + 1
            }
            rest.removeFirst(start)
            // Whatever this is, it has no place in memory.
            guard rest.count <= LineIdentity.lineBytesMax else { return lines + 1 }
        }
    }
}

/// The identity that a line of JSON begins with, as `RequestRecord.json()` writes it.
struct LineIdentity: Equatable {
    let log: LogID
    let offset: UInt64

    /// The longest line. Chosen: many times a record of 1 MiB of which every byte is escaped.
    static let lineBytesMax = 64 << 20

    private static let version = Array("\"schema_version\":".utf8)
    private static let logID = Array("\"log_id\":\"".utf8)
    private static let offsetKey = Array("\",\"offset\":".utf8)
    /// The digits and dashes of a log id.
    private static let logIDCount = 36

    /// Reads the beginning of a line; nil when it is none of a record.
    init?(_ bytes: [UInt8], _ line: Range<Int>) {
        guard line.count > 1, bytes[line.upperBound - 1] == UInt8(ascii: "}") else { return nil }
        var fields = Fields(bytes: bytes, at: line.lowerBound, end: line.upperBound)
        guard fields.take([UInt8(ascii: "{")]) else { return nil }
        if fields.take(Self.version) {
            guard fields.number() != nil, fields.take([UInt8(ascii: ",")]) else { return nil }
        }
        guard fields.take(Self.logID), fields.at + Self.logIDCount <= line.upperBound else {
            return nil
        }
        let text = bytes[fields.at..<(fields.at + Self.logIDCount)]
        fields.at += Self.logIDCount
        guard let log = LogID(String(decoding: text, as: UTF8.self)),
            fields.take(Self.offsetKey), let offset = fields.number(), offset < .max,
            fields.at == line.upperBound - 1 || fields.take([UInt8(ascii: ",")]),
            // Zeros, for one, are what a power cut leaves of a part of a line.
            !bytes[line].contains(where: { $0 < 0x20 })
        else { return nil }
        self.log = log
        self.offset = offset
    }

    /// Reads a line from left to right.
    private struct Fields {
        let bytes: [UInt8]
        var at: Int
        let end: Int

        /// Whether these bytes come next; passes over them then.
        mutating func take(_ wanted: [UInt8]) -> Bool {
            guard at + wanted.count <= end else { return false }
            for (index, byte) in wanted.enumerated() where bytes[at + index] != byte {
                return false
            }
            at += wanted.count
            return true
        }

        /// The decimal number that comes next.
        mutating func number() -> UInt64? {
            var value: UInt64 = 0
            let first = at
            while at < end, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(bytes[at]) {
                let (shifted, overflow) = value.multipliedReportingOverflow(by: 10)
                let digit = UInt64(bytes[at] - UInt8(ascii: "0"))
                let (sum, carry) = shifted.addingReportingOverflow(digit)
                guard !overflow, !carry else { return nil }
                value = sum
                at += 1
            }
            return at > first ? value : nil
        }
    }
}
