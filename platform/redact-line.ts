const redacted = '[redacted]';

/** Members and parameters that hold secrets in OAuth, in our own code, and in HTTP. */
const secretNames =
  'access_?token|refresh_?token|id_?token|client_?secrets?|client_?assertion|assertion|' +
  'code_?verifier|passwords?|api_?key|authorization|cookie|set-cookie';

// A line is JSON, and JSON inside it (a quoted body) has its quotes escaped once more.
const member = new RegExp(`("(?:${secretNames})":)(?:"(?:[^"\\\\]|\\\\.)*"|\\[[^\\]]*\\])`, 'gi');
const escapedMember = new RegExp(`(\\\\"(?:${secretNames})\\\\":\\s*\\\\")[^"\\\\]*`, 'gi');
const parameter = new RegExp(`\\b((?:${secretNames})=)[^&\\s"'\\\\]+`, 'gi');
const authorization = /\b((?:Bearer|Basic|DPoP)\s+)[\w.~+/=-]{8,}/gi;
const urlPassword = /(\b[a-z][a-z+]*:\/\/[^\s:/"@]*:)[^\s"@]+(?=@)/gi;

/**
 * Takes secrets out of a finished log line by what surrounds them. Code never logs one knowingly:
 * this is for an error text or a body that found its way into a field.
 */
export function redactLine(line: string): string {
  return line
    .replace(member, `$1"${redacted}"`)
    .replace(escapedMember, `$1${redacted}`)
    .replace(parameter, `$1${redacted}`)
    .replace(authorization, `$1${redacted}`)
    .replace(urlPassword, `$1${redacted}`);
}
