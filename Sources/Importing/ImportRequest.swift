package import EventLog
package import Records

/// One file to import, and for whom.
package struct ImportRequest: Sendable {
    /// The file; may be compressed with gzip.
    package var path: String
    /// The org that the requests are counted for.
    package var org: String
    /// The API that the requests are counted for.
    package var api: String
    /// The format; nil recognises it by the first lines.
    package var format: ImportFormat?
    /// Whether to import a file of which it cannot be decided whether it was imported.
    package var isForced: Bool
    /// How the log is written; node and region are stored in it.
    package var configuration: LogConfiguration

    /// Describes an import.
    package init(
        path: String,
        org: String,
        api: String,
        format: ImportFormat? = nil,
        isForced: Bool = false,
        configuration: LogConfiguration = LogConfiguration()
    ) {
        self.path = path
        self.org = org
        self.api = api
        self.format = format
        self.isForced = isForced
        self.configuration = configuration
    }
}

/// How far an import is.
package struct ImportProgress: Equatable, Sendable {
    /// What is being done.
    package enum Phase: Equatable, Sendable {
        /// The first pass: hashing.
        case hashing
        /// The second pass: appending.
        case appending
    }

    /// What is being done.
    package var phase: Phase
    /// Decompressed bytes read in this pass.
    package var bytes: UInt64
    /// Decompressed bytes in all; nil in the first pass.
    package var bytesTotal: UInt64?
    /// Lines that became records.
    package var lines: UInt64
    /// Lines that could not be read.
    package var badLines: UInt64
}

/// What an import did.
package struct ImportOutcome: Equatable, Sendable {
    /// The log that holds the new lines; nil when there were none.
    package var log: LogID?
    /// All logs that hold lines of this file, this import's and earlier ones'.
    package var logs: [LogID]
    /// How the lines were read.
    package var format: ImportFormat
    /// New lines that became records of requests.
    package var lines: UInt64
    /// New lines that could not be read; each is in the log, for the dead letters.
    package var badLines: UInt64
    /// Decompressed bytes of the file, and how many of them had been imported before.
    package var bytes: UInt64
    /// Decompressed bytes that had been imported before.
    package var knownBytes: UInt64
    /// Bytes of a last line that has no end and is not complete; it is imported when it is.
    package var unfinishedBytes: UInt64
}
