// The Chromium in which the documentation's page is tried and photographed. Plain Node.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliDecompressSync } from 'node:zlib';

import { inCache, run, ToolMissing } from './pinned-tools.mjs';

const installed = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
/** An npm package that holds a headless Chromium for Linux on x64, with libraries and a font that a bare machine lacks. */
const carrier = {
  name: '@sparticuz/chromium',
  version: '153.0.0',
  sha512:
    'jiGWqSvPMdu4+P9TilYqAR7yEGPEHINx+lCvE/NqNO/EHYzF/x1hUiI5T6ioVIt7dEy7n88byyT0vk+dnsgQwA==',
};

const launcher = `#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
export LD_LIBRARY_PATH="$here/lib" FONTCONFIG_FILE="$here/fonts.conf" XDG_CACHE_HOME="$here/cache"
exec "$here/headless-shell" "$@"
`;
const fontsConfig = `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>/usr/share/fonts</dir>
  <dir prefix="relative">fonts</dir>
  <cachedir prefix="xdg">fontconfig</cachedir>
</fontconfig>
`;

/**
 * The path of a Chromium: CHROMIUM_PATH, one that is installed, or the one that an npm package carries, kept in
 * the cache. Throws ToolMissing, with the reason, where none can be had.
 */
export function findChromium(root, env = process.env) {
  const given = env.CHROMIUM_PATH ?? '';
  if (given !== '') return given;
  return installed.find((path) => existsSync(path)) ?? carriedChromium(root);
}

function carriedChromium(root) {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new ToolMissing('there is no Chromium: install it, or set CHROMIUM_PATH');
  }
  const { name, version, sha512 } = carrier;
  const folder = inCache(root, `chromium-${version}`, (target) => {
    const scratch = join(target, 'package');
    mkdirSync(scratch);
    // The package without what it depends on to unpack itself.
    run('npm', ['pack', '--silent', '--pack-destination', scratch, `${name}@${version}`]);
    const tarball = join(scratch, `${name.slice(1).replace('/', '-')}-${version}.tgz`);
    const found = createHash('sha512').update(readFileSync(tarball)).digest('base64');
    if (found !== sha512) throw new Error(`${name}@${version} has the SHA-512 ${found}`);
    run('tar', ['-xzf', tarball, '-C', scratch]);
    const packed = (file) => brotliDecompressSync(readFileSync(join(scratch, 'package/bin', file)));
    writeFileSync(join(target, 'headless-shell'), packed('chromium.br'), { mode: 0o755 });
    for (const archive of ['al2023.tar', 'fonts.tar']) {
      run('tar', ['-xf', '-', '-C', target], { input: packed(`${archive}.br`) });
    }
    writeFileSync(join(target, 'fonts.conf'), fontsConfig);
    writeFileSync(join(target, 'chromium'), launcher, { mode: 0o755 });
    rmSync(scratch, { recursive: true });
  });
  return join(folder, 'chromium');
}
