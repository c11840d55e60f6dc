internal import Crypto

/// The API keys, by the keyed hashes of their secrets; built once, shared by all loops.
struct CredentialTable: Sendable {
    /// What a valid key says about its owner.
    final class Owner: Sendable {
        /// HMAC-SHA256 of the secret.
        let hash: [UInt8]
        /// First half of the hash in hexadecimal, as recorded.
        let keyID: [UInt8]
        /// Organisation whose APIs accept it; all if nil.
        let org: String?
        /// Application, in bytes as recorded.
        let application: [UInt8]
        /// Developer, in bytes as recorded.
        let developer: [UInt8]
        /// Plan, in bytes as recorded.
        let plan: [UInt8]

        fileprivate init(_ key: GatewayKey, hash: [UInt8]) {
            self.hash = hash
            keyID = CredentialTable.keyID(hash)
            org = key.org
            application = Array(key.application.utf8)
            developer = Array(key.developer.utf8)
            plan = Array(key.plan.utf8)
        }

        /// The most that the owner adds to a record.
        var recordBytesMax: Int {
            keyID.count + application.count + developer.count + plan.count
        }
    }

    private let owners: [UInt64: [Owner]]
    private let key: SymmetricKey

    /// Hashes the keys of a configuration.
    ///
    /// - Throws: `invalidConfiguration`.
    init(_ configuration: GatewayConfiguration) throws(GatewayError) {
        let isUsed = configuration.apis.contains { $0.authentication != .none }
        guard !isUsed || configuration.credentialKey.count >= 16 else {
            throw .invalidConfiguration("the credential key is shorter than 16 bytes")
        }
        key = SymmetricKey(data: configuration.credentialKey)
        var owners: [UInt64: [Owner]] = [:]
        for entry in configuration.keys {
            let hash: [UInt8]
            switch entry.credential {
            case .secret(let secret):
                guard !secret.isEmpty else {
                    throw .invalidConfiguration("the secret of key \"\(entry.id)\" is empty")
                }
                hash = Self.hash(Array(secret.utf8), key)
            case .hash(let given):
                guard given.count == SHA256.byteCount else {
                    throw .invalidConfiguration("the hash of key \"\(entry.id)\" is not 32 bytes")
                }
                hash = given
            }
            owners[Self.prefix(hash), default: []].append(Owner(entry, hash: hash))
        }
        self.owners = owners
    }

    /// The owner of a secret as a caller sent it; nil if it is not known.
    ///
    /// Finding the place depends on the hash, which a caller without the credential key cannot
    /// steer; the comparison itself takes the same time wherever bytes differ.
    func owner(ofSecret secret: Span<UInt8>) -> Owner? {
        guard !secret.isEmpty else { return nil }
        var copy: [UInt8] = []
        copy.reserveCapacity(secret.count)
        for index in 0..<secret.count { copy.append(secret[index]) }
        let hash = Self.hash(copy, key)
        guard let candidates = owners[Self.prefix(hash)] else { return nil }
        for candidate in candidates where Self.isEqual(candidate.hash, hash) { return candidate }
        return nil
    }

    /// What records carry of a hash: its first 16 bytes in hexadecimal.
    static func keyID(_ hash: [UInt8]) -> [UInt8] {
        let digits = Array("0123456789abcdef".utf8)
        return hash.prefix(16).flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }
    }

    private static func hash(_ secret: [UInt8], _ key: SymmetricKey) -> [UInt8] {
        Array(HMAC<SHA256>.authenticationCode(for: secret, using: key))
    }

    private static func prefix(_ hash: [UInt8]) -> UInt64 {
        hash.prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
    }

    private static func isEqual(_ left: [UInt8], _ right: [UInt8]) -> Bool {
        guard left.count == right.count else { return false }
        var difference: UInt8 = 0
        for index in left.indices { difference |= left[index] ^ right[index] }
        return difference == 0
    }
}
