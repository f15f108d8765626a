/** What metrics, log and database may hold as a code. */
const codePattern = /^[a-z0-9_.-]{1,64}$/;
/** Of Node and undici, such as ECONNRESET, or our own, such as `connect_timeout`. */
const networkCodePattern = /^[A-Za-z0-9_]{1,64}$/;
/** How an error code nobody has told us of looks: a few words. Tokens are longer or hold digits. */
const wordsPattern = /^(?=.{3,48}$)[a-z]{2,16}(?:[_.-][a-z]{1,16}){0,5}$/;
/** So many letters in common with a secret are no chance. */
const secretRunChars = 8;

/** A code of this project's vocabulary or of a provider definition, as it is recorded. */
export function knownCode(text: string): string | null {
  const code = text.trim().toLowerCase();
  return codePattern.test(code) ? code : null;
}

/**
 * A code that only the answer names, if it can be nothing but a code: words in lower case that share no
 * eight letters with a secret. Providers echo what they were sent, and a code is logged and stored.
 */
export function plausibleCode(text: string, secrets: Iterable<string>): string | null {
  if (!wordsPattern.test(text)) return null;
  const letters = lettersOf(text);
  for (const secret of secrets) if (sharesRun(letters, lettersOf(secret))) return null;
  return text;
}

/** Our own codes pass as they are; anything else becomes `network_error`. */
export function networkCode(code: string): string {
  return networkCodePattern.test(code) ? code : 'network_error';
}

function lettersOf(text: string): string {
  return text.toLowerCase().replaceAll(/[^a-z0-9]/g, '');
}

/** One lies in the other, or they have a run of letters in common. */
function sharesRun(code: string, secret: string): boolean {
  if (code === '' || secret === '') return false;
  if (code.includes(secret) || secret.includes(code)) return true;
  for (let start = 0; start + secretRunChars <= code.length; start += 1) {
    if (secret.includes(code.slice(start, start + secretRunChars))) return true;
  }
  return false;
}
