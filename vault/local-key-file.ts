import { randomBytes, type KeyObject } from 'node:crypto';
import { link, open, readFile, rm } from 'node:fs/promises';
import { TokenManagerError } from '../client/contract.ts';
import { localKeyBytes, parseLocalKey } from './local-key-provider.ts';

/** Only its owner reads the key. */
const fileMode = 0o600;
const draftNameBytes = 8;

/**
 * Reads the wrapping key from a file: 32 bytes in base64. Throws `key_service_unavailable` that says
 * what to do when the file is missing, cannot be read, or holds anything else.
 */
export async function loadLocalKey(path: string): Promise<KeyObject> {
  let contents: string;
  try {
    contents = await readFile(path, 'utf8');
  } catch (cause) {
    throw cannotRead(path, cause);
  }
  const key = parseLocalKey(contents);
  if (key === undefined) {
    throw keyFileError(
      `The local key file ${path} must hold ${localKeyBytes} bytes in base64 and nothing else: ` +
        'restore the file this database was used with.',
    );
  }
  return key;
}

/** Makes a key file with mode 0600. False: there is one already, which stays as it is. */
export async function createLocalKeyFile(path: string): Promise<boolean> {
  const draft = `${path}.${randomBytes(draftNameBytes).toString('hex')}`;
  try {
    await writeDraft(draft);
    // A hard link appears with its whole contents or not at all, and never replaces a file: replacing
    // a key would close every sealed value for good.
    await link(draft, path);
    return true;
  } catch (error) {
    if (isErrno(error, 'EEXIST')) return false;
    throw keyFileError(
      `The local key file ${path} cannot be created: its folder must exist and be writable.`,
      error,
    );
  } finally {
    await rm(draft, { force: true });
  }
}

async function writeDraft(draft: string): Promise<void> {
  const file = await open(draft, 'wx', fileMode);
  try {
    await file.writeFile(`${randomBytes(localKeyBytes).toString('base64')}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
}

function cannotRead(path: string, cause: unknown): TokenManagerError {
  return isErrno(cause, 'ENOENT')
    ? keyFileError(
        `There is no local key file ${path}: set LOCAL_KEY_FILE to the file this database was used ` +
          `with; for a new database make one with \`openssl rand -base64 ${localKeyBytes}\`.`,
        cause,
      )
    : keyFileError(
        `The local key file ${path} cannot be read: allow this process to read it.`,
        cause,
      );
}

function keyFileError(detail: string, cause?: unknown): TokenManagerError {
  return new TokenManagerError('key_service_unavailable', { detail, cause });
}

function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
