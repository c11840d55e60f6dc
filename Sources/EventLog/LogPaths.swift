internal import FileIO
internal import Records

/// The names of files and directories below a data directory.
struct LogPaths: Sendable {
    /// The data directory.
    let data: String

    /// The directory of all logs.
    var logs: String { data + "/log" }
    /// The shared bell.
    var bell: String { logs + "/bell" }
    /// The directory of all checkpoints.
    var checkpoints: String { data + "/checkpoints" }
    /// The tombstones of logs that are gone altogether.
    var buried: String { logs + "/tombstones" }

    /// A log's directory.
    func log(_ id: LogID) -> String { "\(logs)/\(id)" }
    /// A log's directory while it is being made.
    func unpublished(_ id: LogID) -> String { "\(logs)/tmp-\(id)" }
    /// The tombstones of a log that is gone altogether.
    func buried(_ id: LogID) -> String { "\(buried)/\(id)" }

    /// The mark in a log's directory.
    static func mark(in directory: String) -> String { directory + "/mark" }
    /// The file that says that a log was carried here from another data directory.
    static func carried(in directory: String) -> String { directory + "/carried" }
    /// The tombstones in a log's directory.
    static func tombstones(in directory: String) -> String { directory + "/tombstones" }
    /// A segment in a log's directory.
    static func segment(_ base: Offset, in directory: String) -> String {
        directory + "/" + segmentName(base)
    }

    /// A segment's file name: the base offset in 20 digits.
    static func segmentName(_ base: Offset) -> String {
        let digits = String(base.rawValue)
        return String(repeating: "0", count: 20 - digits.utf8.count) + digits + ".log"
    }

    /// The base offset that a file name means; nil for other files.
    static func baseOffset(of name: String) -> Offset? {
        guard name.utf8.count == 24, name.hasSuffix(".log"),
            let value = UInt64(name.prefix(20))
        else { return nil }
        return Offset(value)
    }

    /// The base offsets of the segments in a log's directory, ascending.
    static func segments(
        in directory: String,
        fileSystem: any FileSystem
    ) throws(FileIOError) -> [Offset] {
        try fileSystem.list(directory).compactMap { baseOffset(of: $0) }
    }
}
