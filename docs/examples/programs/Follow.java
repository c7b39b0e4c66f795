// SPDX-License-Identifier: Apache-2.0

import java.io.DataInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.cert.CertificateException;
import java.security.cert.CertificateFactory;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ThreadLocalRandom;
import java.util.regex.Pattern;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/** Follows secure values: connect gets each value, and each new one. README.md describes how to run it. */
public class Follow {
    static final int SILENCE = 90_000; // milliseconds; an open stream has an event every 30,000
    static final int CALL = 10_000;
    static final int FIRST_PAUSE = 100; // between streams
    static final int LONGEST_PAUSE = 10_000;

    /** The flags with their defaults. */
    final Map<String, String> options = new HashMap<>(Map.of(
            "--decrypt", "https://127.0.0.1:8444", // address of the decrypt port
            "--ca", "data/pki/ca.crt", // file with its CA
            "--token-file", "", // file with the token of this program for it
            "--namespace", "default")); // of the values
    final List<String> names = new ArrayList<>();

    /** The uid and version of each name, "" for one that is not found. */
    final Map<String, String> held = new HashMap<>();
    final Map<String, String> values = new HashMap<>(); // that are in use
    boolean ready;

    /** Says what failed and what to do about it. No value is ever in it. */
    static class Failure extends IOException {
        Failure(String message) {
            super(message);
        }
    }

    /** Sends a request with the CA and the token of now: both files are replaced while the program runs. */
    HttpsURLConnection send(String path, String type, byte[] body, int timeout) throws IOException {
        var connection = (HttpsURLConnection) URI.create(options.get("--decrypt") + path).toURL().openConnection();
        connection.setSSLSocketFactory(trust().getSocketFactory());
        connection.setInstanceFollowRedirects(false); // the token is for one server
        connection.setConnectTimeout(CALL);
        connection.setReadTimeout(timeout);
        var token = Files.readString(Path.of(options.get("--token-file"))).strip();
        connection.setRequestProperty("Authorization", "Bearer " + token);
        connection.setRequestProperty("Connection", "close");
        if (body == null) {
            connection.setRequestProperty("Accept", type);
        } else {
            connection.setRequestProperty("Content-Type", type);
            connection.setDoOutput(true);
            connection.getOutputStream().write(body);
        }
        return connection;
    }

    SSLContext trust() throws IOException {
        try (InputStream file = Files.newInputStream(Path.of(options.get("--ca")))) {
            var store = KeyStore.getInstance(KeyStore.getDefaultType());
            store.load(null, null);
            for (var certificate : CertificateFactory.getInstance("X.509").generateCertificates(file)) {
                store.setCertificateEntry("ca-" + store.size(), certificate);
            }
            var trusted = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
            trusted.init(store);
            var context = SSLContext.getInstance("TLS");
            context.init(null, trusted.getTrustManagers(), null);
            return context;
        } catch (GeneralSecurityException e) {
            throw new Failure(options.get("--ca") + " has no CA: " + e.getMessage());
        }
    }

    Failure failure(String code, String message) {
        return new Failure(switch (code) {
            case "401", "unauthenticated" -> options.get("--decrypt") + " does not accept the token in "
                    + options.get("--token-file")
                    + ": it must be issued for audience secret.grafana.app, and not be expired";
            case "403", "permission_denied" -> "not authorized in namespace " + options.get("--namespace")
                    + ": an administrator gives permission by `kubectl securevalue grant`, without a cluster by "
                    + "`secret-apiserver grant`";
            default -> options.get("--decrypt") + " answers " + code + ": " + message;
        });
    }

    /** The text of a field of a flat JSON object whose strings need no escapes, "" without it. */
    static String field(String json, String name) {
        var found = Pattern.compile('"' + name + "\"\\s*:\\s*\"?([^\",}]*)").matcher(json);
        return found.find() ? found.group(1) : "";
    }

    /** Returns a value, or null if it is not found. */
    String fetch(String name) throws IOException {
        var path = "/decrypt/v1/namespaces/" + options.get("--namespace") + "/secrets/" + name + "/decrypt";
        var connection = send(path, "text/plain", null, CALL);
        int status = connection.getResponseCode();
        if (status == 404) {
            return null;
        }
        if (status != 200) {
            throw failure(String.valueOf(status), connection.getResponseMessage());
        }
        try (InputStream body = connection.getInputStream()) {
            return new String(body.readAllBytes(), StandardCharsets.UTF_8);
        }
    }

    /** Calls changed with a name, and the uid and version that can be fetched now, for each name and each change. */
    void watch() throws IOException {
        var text = ("{\"namespace\":\"" + options.get("--namespace") + "\",\"names\":[\"" + String.join("\",\"", names)
                + "\"]}").getBytes(StandardCharsets.UTF_8);
        var body = ByteBuffer.allocate(5 + text.length).put((byte) 0).putInt(text.length).put(text).array();
        var connection = send("/secretwatch.v1.SecureValueWatcher/Watch", "application/connect+json", body, SILENCE);
        if (connection.getResponseCode() != 200) {
            throw failure(String.valueOf(connection.getResponseCode()), connection.getResponseMessage());
        }
        try (var stream = new DataInputStream(connection.getInputStream())) {
            for (;;) {
                int flags = stream.readByte();
                var message = new String(stream.readNBytes(stream.readInt()), StandardCharsets.UTF_8);
                if ((flags & 2) != 0) { // the end
                    if (message.contains("\"error\"")) {
                        throw failure(field(message, "code"), field(message, "message"));
                    }
                    return;
                }
                var name = field(message, "name");
                var version = field(message, "version");
                if (!name.isEmpty()) { // no heartbeat
                    changed(name, version.isEmpty() ? "" : field(message, "uid") + " " + version);
                }
            }
        }
    }

    void changed(String name, String newest) throws IOException {
        if (newest.equals(held.get(name))) {
            return;
        }
        var value = newest.isEmpty() ? null : fetch(name);
        if (value == null) {
            System.out.println(name + ": not found: it does not exist in namespace " + options.get("--namespace")
                    + ", or is not granted to this program; see `kubectl securevalue who-can-decrypt`");
            newest = "";
            values.remove(name);
        } else if (!value.equals(values.put(name, value))) {
            connect(name, value);
        }
        held.put(name, newest);
        if (!ready && values.keySet().containsAll(names)) {
            ready = true;
            System.out.println("ready");
        }
    }

    /** Calls connect with each value and with each new one. A value that goes away stays in use. */
    void follow() throws InterruptedException {
        int pause = FIRST_PAUSE;
        for (;;) {
            long began = System.nanoTime();
            try {
                watch();
            } catch (Failure e) {
                System.out.println(e.getMessage());
            } catch (IOException e) {
                System.out.println(e.getCause() instanceof CertificateException
                        ? options.get("--ca") + " does not have the CA of " + options.get("--decrypt")
                                + ": mount ConfigMap secret-ca (key ca.crt) there (" + e.getMessage() + ")"
                        : "retrying " + options.get("--decrypt") + ": " + e + " (in a cluster this Pod and its "
                                + "namespace need the label secret.grafana.app/decrypt=allowed)");
            }
            if (System.nanoTime() - began > 60_000_000_000L) {
                pause = FIRST_PAUSE;
            }
            Thread.sleep(ThreadLocalRandom.current().nextInt(pause, pause * 3 / 2)); // not all at the same time
            pause = Math.min(2 * pause, LONGEST_PAUSE);
        }
    }

    /** Stands for what a program does with its password. It prints the length, never the value. */
    void connect(String name, String password) {
        System.out.println(name + ": connected with a password of " + password.getBytes(StandardCharsets.UTF_8).length
                + " bytes");
    }

    Follow(String[] args) {
        for (int i = 0; i < args.length; i++) {
            if (!args[i].startsWith("--")) {
                names.add(args[i]);
            } else if (i + 1 == args.length || options.replace(args[i], args[++i]) == null) {
                names.clear();
                break;
            }
        }
        if (names.isEmpty() || options.get("--token-file").isEmpty()) {
            System.err.println("usage: java Follow.java --token-file FILE [--decrypt URL] [--ca FILE] "
                    + "[--namespace NAMESPACE] NAME...");
            System.exit(2);
        }
    }

    public static void main(String[] args) throws InterruptedException {
        new Follow(args).follow();
    }
}
