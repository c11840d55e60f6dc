/// What to do about an error that has its cause in `kafka.client` or in the brokers' certificates.
enum KafkaAdvice {
    /// A sentence for the errors that people can mend; nil for others.
    ///
    /// - Parameters:
    ///   - name: The name of the code, as `_SSL`.
    ///   - message: What librdkafka says; it names the state in which a connection broke.
    static func text(_ name: String, _ message: String) -> String? {
        switch name {
        case "_SSL":
            if message.contains("alert") || !message.contains("certificate verify failed") {
                return clientCertificate
            }
            return "kafka.client.ssl.ca.location must name the authority that signed the broker's "
                + "certificate, and the hosts in kafka.brokers, and those that the brokers "
                + "advertise, must be in the certificate"
        case "_AUTHENTICATION", "SASL_AUTHENTICATION_FAILED", "UNSUPPORTED_SASL_MECHANISM":
            return "check kafka.client: sasl.mechanism, sasl.username, sasl.password"
        case "TOPIC_AUTHORIZATION_FAILED", "GROUP_AUTHORIZATION_FAILED",
            "CLUSTER_AUTHORIZATION_FAILED":
            return "the brokers' access rules do not permit this to the user of kafka.client"
        case "_TRANSPORT", "_ALL_BROKERS_DOWN": return text(ofBreak: message)
        case "_BAD_MSG" where message.contains("receive.message.max.bytes"):
            return "set kafka.client.receive.message.max.bytes above that size: the broker answers "
                + "with more than it is asked for, and is asked for the same again until then"
        default: return nil
        }
    }

    private static let clientCertificate =
        "if the broker asks for a client's certificate, set ssl.certificate.location and "
        + "ssl.key.location in kafka.client; if it does not speak TLS, mend security.protocol"

    /// About a connection that the other side closed before the first answer.
    private static func text(ofBreak message: String) -> String? {
        if message.contains("state AUTH_") {
            return text("_AUTHENTICATION", message)
        }
        guard message.contains("state APIVERSION_QUERY") || message.contains("state SSL_HANDSHAKE")
        else { return nil }
        if message.contains("ssl://") { return clientCertificate }
        return "if the broker wants TLS or a password, set security.protocol in kafka.client"
    }
}
