import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';
import { Crc32c } from '@aws-crypto/crc32c';
import type { protos } from '@google-cloud/kms';
import { grpc, GrpcClient } from 'google-gax';
import { createKmsKeys, KmsRefusal, type KeyVersion, type KmsKeys } from './kms-keys.ts';
import { listenAtStablePort } from './stable-port.ts';

type Kms = typeof protos.google.cloud.kms.v1;

/** The key of a server that is not told of others. */
export const kmsKeyName = 'projects/test/locations/global/keyRings/tokens/cryptoKeys/data-keys';

const methods = {
  encrypt: 'useToEncrypt',
  decrypt: 'useToDecrypt',
  getCryptoKey: 'get',
  getCryptoKeyVersion: 'get',
  listCryptoKeyVersions: 'list',
  createCryptoKeyVersion: 'create',
  updateCryptoKeyVersion: 'update',
  updateCryptoKeyPrimaryVersion: 'update',
  destroyCryptoKeyVersion: 'destroy',
  restoreCryptoKeyVersion: 'restore',
} as const;
type Method = keyof typeof methods;
const methodNames = Object.keys(methods) as Method[];

export interface KmsFaults {
  /** Before each answer. */
  latencyMs: number;
  /** Calls are taken and never answered. */
  hangs: boolean;
  /** The name of a gRPC status that every call ends with, such as `UNAVAILABLE`. */
  status: keyof typeof grpc.status | null;
  /** Methods that the caller's IAM lacks. */
  denied: Method[];
  /** Calls left before the quota of the minute is used up. */
  quota: number;
  /** Changes what is answered, or what arrives, as a faulty way between would; so many times. */
  corrupts: 'request' | 'answer' | 'verification' | null;
  corruptions: number;
}

const noFaults: KmsFaults = {
  latencyMs: 0,
  hangs: false,
  status: null,
  denied: [],
  quota: Infinity,
  corrupts: null,
  corruptions: Infinity,
};

export interface KmsServer {
  /** KMS_API_ENDPOINT. */
  endpoint: string;
  /** Its keys, to be looked at and changed without a call. */
  keys: KmsKeys;
  /** How often each method was called, refused calls too. */
  calls(): Record<Method, number>;
  /** Replaces all faults; what is left away is no fault. */
  setFaults(faults: Partial<KmsFaults>): void;
  /** Nobody listens on its port until `resume`; connections are cut. */
  stop(): void;
  resume(): Promise<void>;
  close(): void;
}

type Call<Request> = grpc.ServerUnaryCall<Request, unknown>;
type Bytes = Uint8Array | string | null | undefined;
type Checksum = protos.google.protobuf.IInt64Value | null | undefined;

/**
 * Cloud KMS over gRPC, without TLS, on the service definition of the client library's package: symmetric
 * keys, their versions, additional data, checksums both ways, and faults. Keys live as long as it does.
 */
export async function startKmsServer(
  options: { keyNames?: readonly string[]; port?: number } = {},
): Promise<KmsServer> {
  const keys = createKmsKeys(options.keyNames ?? [kmsKeyName]);
  const counts = Object.fromEntries(methodNames.map((name) => [name, 0])) as Record<Method, number>;
  let faults = noFaults;

  function answers<Request>(method: Method, answer: (request: Request) => unknown) {
    return (call: Call<Request>, callback: grpc.sendUnaryData<unknown>): void => {
      counts[method] += 1;
      void answerOne(method, () => answer(call.request)).then(
        (response) => callback(null, response),
        (error: unknown) => callback(serviceError(error)),
      );
    };
  }

  async function answerOne(method: Method, answer: () => unknown): Promise<unknown> {
    if (faults.latencyMs > 0) await sleep(faults.latencyMs);
    if (faults.hangs) return new Promise(() => undefined);
    if (faults.status !== null) throw refusal(faults.status, 'A fault of the test.');
    if (faults.quota <= 0) {
      throw refusal(
        'RESOURCE_EXHAUSTED',
        "Quota exceeded for quota metric 'Cryptographic requests'.",
      );
    }
    faults.quota -= 1;
    if (faults.denied.includes(method)) {
      throw refusal(
        'PERMISSION_DENIED',
        `Permission 'cloudkms.cryptoKeyVersions.${methods[method]}' denied on resource (or it may not exist).`,
      );
    }
    return answer();
  }

  /** Whether the next message of this kind is changed on the way. */
  function isCorrupted(kind: KmsFaults['corrupts']): boolean {
    if (faults.corrupts !== kind || faults.corruptions <= 0) return false;
    faults.corruptions -= 1;
    return true;
  }

  /** As it arrives: with a byte flipped where the way is faulty, and refused if its checksum tells. */
  function received(bytes: Bytes, checksum: Checksum, field: string, mayCorrupt: boolean): Buffer {
    const data = Buffer.from(bytes instanceof Uint8Array ? bytes : []);
    if (mayCorrupt && isCorrupted('request')) flip(data);
    if (checksum?.value != null && String(checksum.value) !== String(crc32c(data))) {
      throw refusal(
        'INVALID_ARGUMENT',
        `The checksum in field ${field}_crc32c did not match the data in field ${field}.`,
      );
    }
    return data;
  }

  const implementation = {
    encrypt: answers('encrypt', (request: InstanceType<Kms['EncryptRequest']>) => {
      const { name } = request;
      const plaintext = received(request.plaintext, request.plaintextCrc32c, 'plaintext', true);
      const data = receivedAdditionalData(request);
      const made = keys.encrypt(name, plaintext, data);
      const isConfirmed = !isCorrupted('verification');
      const ciphertextCrc32c = { value: crc32c(made.ciphertext) };
      if (isCorrupted('answer')) flip(made.ciphertext);
      return {
        ...made,
        ciphertextCrc32c,
        verifiedPlaintextCrc32c: isConfirmed && request.plaintextCrc32c !== null,
        verifiedAdditionalAuthenticatedDataCrc32c:
          isConfirmed && request.additionalAuthenticatedDataCrc32c !== null,
        protectionLevel: 'SOFTWARE',
      };
    }),
    decrypt: answers('decrypt', (request: InstanceType<Kms['DecryptRequest']>) => {
      const { name } = request;
      const ciphertext = received(request.ciphertext, request.ciphertextCrc32c, 'ciphertext', true);
      const plaintext = keys.decrypt(name, ciphertext, receivedAdditionalData(request));
      const plaintextCrc32c = { value: crc32c(plaintext) };
      if (isCorrupted('answer')) flip(plaintext);
      return { plaintext, plaintextCrc32c, usedPrimary: true, protectionLevel: 'SOFTWARE' };
    }),
    getCryptoKey: answers('getCryptoKey', ({ name }: InstanceType<Kms['GetCryptoKeyRequest']>) =>
      describeKey(name),
    ),
    getCryptoKeyVersion: answers(
      'getCryptoKeyVersion',
      ({ name }: InstanceType<Kms['GetCryptoKeyVersionRequest']>) =>
        describeVersion(keys.findVersion(name)),
    ),
    listCryptoKeyVersions: answers(
      'listCryptoKeyVersions',
      ({ parent }: InstanceType<Kms['ListCryptoKeyVersionsRequest']>) => {
        const { versions } = keys.find(parent);
        return { cryptoKeyVersions: versions.map(describeVersion), totalSize: versions.length };
      },
    ),
    createCryptoKeyVersion: answers(
      'createCryptoKeyVersion',
      ({ parent }: InstanceType<Kms['CreateCryptoKeyVersionRequest']>) =>
        describeVersion(keys.createVersion(parent)),
    ),
    updateCryptoKeyVersion: answers(
      'updateCryptoKeyVersion',
      ({ cryptoKeyVersion }: InstanceType<Kms['UpdateCryptoKeyVersionRequest']>) => {
        // Only these two states can be set; the rest has methods of its own.
        const state = String(cryptoKeyVersion?.state) === 'DISABLED' ? 'DISABLED' : 'ENABLED';
        return describeVersion(keys.setState(cryptoKeyVersion?.name ?? '', state));
      },
    ),
    updateCryptoKeyPrimaryVersion: answers(
      'updateCryptoKeyPrimaryVersion',
      (request: InstanceType<Kms['UpdateCryptoKeyPrimaryVersionRequest']>) => {
        keys.setPrimary(request.name, request.cryptoKeyVersionId);
        return describeKey(request.name);
      },
    ),
    destroyCryptoKeyVersion: answers(
      'destroyCryptoKeyVersion',
      ({ name }: InstanceType<Kms['DestroyCryptoKeyVersionRequest']>) =>
        describeVersion(keys.setState(name, 'DESTROY_SCHEDULED')),
    ),
    restoreCryptoKeyVersion: answers(
      'restoreCryptoKeyVersion',
      ({ name }: InstanceType<Kms['RestoreCryptoKeyVersionRequest']>) =>
        describeVersion(keys.setState(name, 'DISABLED')),
    ),
  };

  function receivedAdditionalData(
    request: InstanceType<Kms['EncryptRequest']> | InstanceType<Kms['DecryptRequest']>,
  ): Buffer {
    const { additionalAuthenticatedData, additionalAuthenticatedDataCrc32c } = request;
    const field = 'additional_authenticated_data';
    return received(additionalAuthenticatedData, additionalAuthenticatedDataCrc32c, field, false);
  }

  function describeKey(name: string) {
    const { versions, primary } = keys.find(name);
    const version = versions[primary];
    return {
      name,
      purpose: 'ENCRYPT_DECRYPT',
      ...(version !== undefined && { primary: describeVersion(version) }),
    };
  }

  let server: grpc.Server;
  async function listen(port: number): Promise<void> {
    server = new grpc.Server();
    server.addService(loadService(), implementation);
    return new Promise((resolve, reject) => {
      const credentials = grpc.ServerCredentials.createInsecure();
      server.bindAsync(`127.0.0.1:${port}`, credentials, (error) => {
        if (error === null) resolve();
        else reject(error);
      });
    });
  }
  if (options.port !== undefined) await listen(options.port);
  const port = options.port ?? (await listenAtStablePort(listen));

  return {
    endpoint: `http://127.0.0.1:${port}`,
    keys,
    calls: () => ({ ...counts }),
    setFaults(given) {
      faults = { ...noFaults, ...given };
    },
    stop: () => server.forceShutdown(),
    resume: async () => {
      await listen(port);
    },
    close: () => server.forceShutdown(),
  };
}

/** The service as the client library's package defines it. */
function loadService(): grpc.ServiceDefinition {
  const require = createRequire(import.meta.url);
  const json = require('@google-cloud/kms/build/protos/protos.json') as object;
  const root = new GrpcClient().loadProtoJSON(json) as unknown as {
    google: {
      cloud: { kms: { v1: { KeyManagementService: { service: grpc.ServiceDefinition } } } };
    };
  };
  return root.google.cloud.kms.v1.KeyManagementService.service;
}

function describeVersion({ name, state }: KeyVersion) {
  return {
    name,
    state,
    protectionLevel: 'SOFTWARE',
    algorithm: 'GOOGLE_SYMMETRIC_ENCRYPTION',
  };
}

function refusal(status: keyof typeof grpc.status, details: string) {
  return Object.assign(new Error(details), { code: grpc.status[status], details });
}

function serviceError(error: unknown): Partial<grpc.StatusObject> {
  if (error instanceof KmsRefusal) return refusal(error.status, error.message);
  if (error instanceof Error && 'code' in error) return error as Partial<grpc.StatusObject>;
  return refusal('INTERNAL', 'The test server has a fault.');
}

function flip(bytes: Buffer): void {
  bytes.writeUInt8(bytes.readUInt8(bytes.length - 1) ^ 1, bytes.length - 1);
}

function crc32c(bytes: Uint8Array): number {
  return new Crc32c().update(bytes).digest();
}
