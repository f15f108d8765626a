// Opens the test vectors of the sealed format with nothing but Go's standard library and the layout that
// docs/security.md describes: the format does not depend on this project's code.
//
//	go run test/vault/open-sealed-values.go test/vault/sealed-value-vectors.json
package main

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
)

const (
	label        = "token-manager/sealed-value/1"
	version      = 1
	nonceAt      = 17
	tagAt        = 29
	ciphertextAt = 45
)

type owner struct {
	TenantID   string `json:"tenantId"`
	ID         string `json:"id"`
	Generation uint64 `json:"generation"`
}

type vectors struct {
	SealedValues []struct {
		Name      string `json:"name"`
		KeyHex    string `json:"keyHex"`
		DataKeyID string `json:"dataKeyId"`
		Kind      string `json:"kind"`
		Owner     owner  `json:"owner"`
		Plaintext string `json:"plaintext"`
		SealedHex string `json:"sealedHex"`
	} `json:"sealedValues"`
	Fingerprint struct {
		KeyHex        string `json:"keyHex"`
		RefreshToken  string `json:"refreshToken"`
		HmacSha256Hex string `json:"hmacSha256Hex"`
	} `json:"fingerprint"`
}

// open opens one sealed value for its owner. The key is the unwrapped data key that dataKeyID names.
func open(key, dataKeyID []byte, kind string, of owner, sealed []byte) ([]byte, error) {
	if len(sealed) < ciphertextAt || sealed[0] != version {
		return nil, errors.New("truncated, or not of version 1")
	}
	if !bytes.Equal(sealed[1:nonceAt], dataKeyID) {
		return nil, errors.New("sealed by another data key")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	// Go takes the tag behind the ciphertext.
	body := append(bytes.Clone(sealed[ciphertextAt:]), sealed[tagAt:ciphertextAt]...)
	return gcm.Open(nil, sealed[nonceAt:tagAt], body, associatedData(kind, of))
}

// associatedData is five fields, each behind its length as an unsigned 32 bit integer, big endian.
func associatedData(kind string, of owner) []byte {
	generation := binary.BigEndian.AppendUint64(nil, of.Generation)
	var data []byte
	for _, field := range [][]byte{[]byte(label), []byte(kind), []byte(of.TenantID), []byte(of.ID), generation} {
		data = binary.BigEndian.AppendUint32(data, uint32(len(field)))
		data = append(data, field...)
	}
	return data
}

func check(path string) (int, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	var all vectors
	if err := json.Unmarshal(text, &all); err != nil {
		return 0, err
	}
	for _, vector := range all.SealedValues {
		key, id, sealed := unhex(vector.KeyHex), unhex(strings.ReplaceAll(vector.DataKeyID, "-", "")), unhex(vector.SealedHex)
		plaintext, err := open(key, id, vector.Kind, vector.Owner, sealed)
		if err != nil {
			return 0, fmt.Errorf("%s does not open: %w", vector.Name, err)
		}
		if string(plaintext) != vector.Plaintext {
			return 0, fmt.Errorf("%s opens to something else", vector.Name)
		}
		other := vector.Owner
		other.Generation++
		if _, err := open(key, id, vector.Kind, other, sealed); err == nil {
			return 0, fmt.Errorf("%s opens for another generation", vector.Name)
		}
		for at := range sealed {
			changed := bytes.Clone(sealed)
			changed[at] ^= 1
			if _, err := open(key, id, vector.Kind, vector.Owner, changed); err == nil {
				return 0, fmt.Errorf("%s opens with its byte %d changed", vector.Name, at)
			}
		}
	}
	mac := hmac.New(sha256.New, unhex(all.Fingerprint.KeyHex))
	mac.Write([]byte(all.Fingerprint.RefreshToken))
	if hex.EncodeToString(mac.Sum(nil)) != all.Fingerprint.HmacSha256Hex {
		return 0, errors.New("the fingerprint is another")
	}
	return len(all.SealedValues), nil
}

func unhex(text string) []byte {
	decoded, err := hex.DecodeString(text)
	if err != nil {
		panic(err)
	}
	return decoded
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go run open-sealed-values.go VECTORS.json")
		os.Exit(2)
	}
	count, err := check(os.Args[1])
	if err == nil && count == 0 {
		err = errors.New("there are no vectors")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("%d sealed values open\n", count)
}
