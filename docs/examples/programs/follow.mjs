// SPDX-License-Identifier: Apache-2.0

// Follows secure values: connect() gets each value, and each new one. README.md describes how to run it.

import { readFileSync } from 'node:fs';
import { request } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';

const silence = 90_000; // milliseconds; an open stream has an event every 30,000
const call = 10_000;
const pauses = { first: 100, longest: 10_000 }; // between streams

const { values: options, positionals: names } = parseArgs({
  allowPositionals: true,
  options: {
    decrypt: { type: 'string', default: 'https://127.0.0.1:8444' }, // address of the decrypt port
    ca: { type: 'string', default: 'data/pki/ca.crt' }, // file with its CA
    'token-file': { type: 'string' }, // file with the token of this program for it
    namespace: { type: 'string', default: 'default' }, // of the values
  },
});

// Failure says what failed and what to do about it. No value is ever in it.
class Failure extends Error {}

// post sends a request with the CA and the token of now: both files are replaced while the program runs.
async function post(path, type, body, timeout) {
  const ca = readFileSync(options.ca);
  const token = readFileSync(options['token-file'], 'ascii').trim();
  const headers = { authorization: `Bearer ${token}`, 'content-type': type, 'content-length': body.length };
  const response = await new Promise((resolve, reject) => {
    const sent = request(new URL(path, options.decrypt), { method: 'POST', ca, headers, agent: false });
    sent.setTimeout(call, () => sent.destroy(new Error('nothing was received for too long')));
    sent.on('response', (response) => {
      sent.setTimeout(timeout);
      resolve(response);
    });
    sent.on('error', reject);
    sent.end(body);
  });
  if (response.statusCode === 200) {
    return response;
  }
  let error = {};
  try {
    error = JSON.parse(await all(response));
  } catch {
    // not of this server
  }
  throw failure(error.code, error.message ?? `HTTP status ${response.statusCode}`);
}

function failure(code, message) {
  switch (code) {
    case 'unauthenticated':
      return new Failure(`${options.decrypt} does not accept the token in ${options['token-file']}: it must be ` +
        'issued for audience secret.grafana.app, and not be expired');
    case 'permission_denied':
      return new Failure(`not authorized in namespace ${options.namespace}: an administrator gives permission by ` +
        '`kubectl securevalue grant`, without a cluster by `secret-apiserver grant`');
    default:
      return new Failure(`${options.decrypt} answers ${code}: ${message}`);
  }
}

async function all(response) {
  const chunks = [];
  for await (const chunk of response) {
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

// fetchValue returns a value with its state, and without a value why there is none.
async function fetchValue(name) {
  const body = Buffer.from(JSON.stringify({ namespace: options.namespace, names: [name] }));
  const path = '/decryptv1beta1.SecureValueDecrypter/DecryptSecureValues';
  const result = JSON.parse(await all(await post(path, 'application/json', body, call))).decryptedValues[name];
  return { value: result.value, state: stateOf(result), refusal: result.errorMessage };
}

// stateOf returns the uid and version of a message, or '' when there is nothing that can be fetched.
function stateOf(message) {
  return message.version ? `${message.uid} ${message.version}` : '';
}

// watch yields a name with the state that can be fetched now, for each name and for each change.
async function* watch() {
  const text = Buffer.from(JSON.stringify({ namespace: options.namespace, names }));
  const head = Buffer.alloc(5);
  head.writeUInt32BE(text.length, 1);
  const path = '/secretwatch.v1.SecureValueWatcher/Watch';
  const response = await post(path, 'application/connect+json', Buffer.concat([head, text]), silence);
  let data = Buffer.alloc(0);
  for await (const chunk of response) {
    data = Buffer.concat([data, chunk]);
    while (data.length >= 5 && data.length >= 5 + data.readUInt32BE(1)) {
      const end = 5 + data.readUInt32BE(1);
      const last = data[0] & 2;
      const message = JSON.parse(data.subarray(5, end));
      data = data.subarray(end);
      if (last) {
        if (message.error) {
          throw failure(message.error.code, message.error.message);
        }
        return;
      }
      if (message.name) { // no heartbeat
        yield { name: message.name, newest: stateOf(message) };
      }
    }
  }
  throw new Error('the stream was cut');
}

// follow calls connect with each value and with each new one. A value that goes away stays in use.
async function follow(connect) {
  const held = new Map();
  let ready = false;
  let pause = pauses.first;
  for (;;) {
    const began = Date.now();
    try {
      for await (const { name, newest } of watch()) {
        if (held.get(name) === newest) {
          continue;
        }
        const { value, state, refusal } = newest ? await fetchValue(name) : { state: '', refusal: 'not found' };
        if (refusal === 'not found') {
          console.log(`${name}: not found: it does not exist in namespace ${options.namespace}, or is not granted to ` +
            'this program; see `kubectl securevalue who-can-decrypt`');
        } else if (refusal) {
          throw new Failure(`${name}: ${refusal}; the log of the server says why`);
        } else if (held.get(name) !== state) {
          connect(name, value);
        }
        held.set(name, state);
        if (!ready && names.every((name) => held.get(name))) {
          ready = true;
          console.log('ready');
        }
      }
    } catch (error) {
      console.log(explain(error));
    }
    if (Date.now() - began > 60_000) {
      pause = pauses.first;
    }
    await sleep(pause * (1 + Math.random() / 2)); // not all programs at the same time
    pause = Math.min(2 * pause, pauses.longest);
  }
}

function explain(error) {
  if (error instanceof Failure) {
    return error.message;
  }
  if (/CERT|ISSUER|SIGNATURE/.test(error.code)) {
    return `${options.ca} does not have the CA of ${options.decrypt}: mount ConfigMap secret-ca (key ca.crt) there ` +
      `(${error.message})`;
  }
  return `retrying ${options.decrypt}: ${error.message} (in a cluster this Pod and its namespace need the label ` +
    'secret.grafana.app/decrypt=allowed)';
}

// connect stands for what a program does with its password. It prints the length, never the value.
function connect(name, password) {
  console.log(`${name}: connected with a password of ${Buffer.byteLength(password)} bytes`);
}

if (!options['token-file'] || names.length === 0) {
  console.error('usage: node follow.mjs --token-file FILE [--decrypt URL] [--ca FILE] [--namespace NAMESPACE] NAME...');
  process.exit(2);
}
await follow(connect);
