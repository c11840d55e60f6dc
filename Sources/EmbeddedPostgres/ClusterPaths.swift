import Foundation

/// Where the files of an embedded cluster are.
///
/// | path | owner | content |
/// |---|---|---|
/// | `DATA/postgres/` | server's user, 0700 | the cluster, made by `initdb` |
/// | `DATA/postgres.new/` | server's user, 0700 | a cluster that `initdb` is making |
/// | `DATA/postgres-config/` | ours, 0755 | settings and access rules; the server reads them |
/// | `DATA/postgres.lock` | ours, 0600 | locked while starting or stopping |
/// | `DATA/postgres.owner` | ours, 0600 | locked by the process that will stop the server |
/// | `DATA/run/` | server's user, 0700 | the socket |
struct ClusterPaths {
    let data: String

    /// The longest path of a Unix-domain socket: `sun_path` is 108 bytes with its final zero.
    static let socketPathBytesMax = 107

    /// The port is only a part of the socket's name: there is no TCP listener.
    static let port = 5432

    init(data: String) {
        self.data = URL(fileURLWithPath: data).standardizedFileURL.path
    }

    var cluster: String { data + "/postgres" }
    var newCluster: String { data + "/postgres.new" }
    var configuration: String { data + "/postgres-config" }
    var startLock: String { data + "/postgres.lock" }
    var ownerLock: String { data + "/postgres.owner" }
    var serverLog: String { cluster + "/start.log" }

    /// The directory of the socket: `DATA/run`, or a directory under `/tmp` named by a hash of
    /// the data directory when a socket's path in it would be too long.
    var socketDirectory: String {
        let own = data + "/run"
        if own.utf8.count + Self.socketName.utf8.count + 1 <= Self.socketPathBytesMax { return own }
        return "/tmp/sluice-" + String(Self.hash(data), radix: 16)
    }

    /// The lock file that the server keeps beside its socket.
    var socketLock: String { socketDirectory + "/" + Self.socketName + ".lock" }

    /// The connection string of `role` to `database`.
    func uri(role: String, database: String) -> String {
        "postgresql://\(role)@/\(database)?host=\(Self.percentEncoded(socketDirectory))"
            + "&port=\(Self.port)"
    }

    private static let socketName = ".s.PGSQL.\(port)"

    /// FNV-1a, 64 bits: the same in every process, as the name must be.
    private static func hash(_ text: String) -> UInt64 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in text.utf8 {
            hash ^= UInt64(byte)
            // Wrapping is the definition of this hash.
            hash = hash &* 0x0000_0100_0000_01b3
        }
        return hash
    }

    static func percentEncoded(_ text: String) -> String {
        let plain = CharacterSet(
            charactersIn: "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
        )
        return text.addingPercentEncoding(withAllowedCharacters: plain) ?? text
    }
}
