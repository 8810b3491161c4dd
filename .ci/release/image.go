package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// The media types of https://github.com/opencontainers/image-spec/blob/v1.1.0.
const (
	mediaIndex    = "application/vnd.oci.image.index.v1+json"
	mediaManifest = "application/vnd.oci.image.manifest.v1+json"
	mediaConfig   = "application/vnd.oci.image.config.v1+json"
	mediaLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// imageName is where the image is to be pushed.
const imageName = "ghcr.io/corral-run/corral"

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Platform    *platform         `json:"platform,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

type imageIndex struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	Manifests     []descriptor      `json:"manifests"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	Config        descriptor        `json:"config"`
	Layers        []descriptor      `json:"layers"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

type imageConfig struct {
	Created time.Time `json:"created"`
	platform
	Config  imageRun    `json:"config"`
	RootFS  imageRootFS `json:"rootfs"`
	History []history   `json:"history"`
}

type imageRun struct {
	Env        []string          `json:"Env"`
	Entrypoint []string          `json:"Entrypoint"`
	WorkingDir string            `json:"WorkingDir"`
	Labels     map[string]string `json:"Labels"`
}

type imageRootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

type history struct {
	Created   time.Time `json:"created"`
	CreatedBy string    `json:"created_by"`
}

// layout is an image layout: blobs by the digest of what they are.
type layout struct{ files []File }

func (l *layout) blob(mediaType string, text []byte) descriptor {
	sum := sumOf(text)
	l.files = append(l.files, File{Name: "blobs/sha256/" + sum, Text: text})
	return descriptor{MediaType: mediaType, Digest: "sha256:" + sum, Size: len(text)}
}

func (l *layout) document(mediaType string, v any) (descriptor, error) {
	text, err := json.Marshal(v)
	return l.blob(mediaType, text), err
}

// image writes an archive of an OCI image layout. The image is one static program
// and nothing else, for all Linux systems of the release: for COPY --from, and as
// the init of what is mounted or copied beside it.
func (r *Release) image() error {
	var l layout
	index := imageIndex{SchemaVersion: 2, MediaType: mediaIndex, Annotations: r.annotations()}
	for _, s := range r.systems {
		if s.OS != "linux" {
			continue
		}
		m, err := r.systemImage(&l, s)
		if err != nil {
			return err
		}
		m.Platform = &platform{s.Arch, s.OS}
		index.Manifests = append(index.Manifests, m)
	}
	if len(index.Manifests) == 0 {
		return nil
	}
	all, err := l.document(mediaIndex, index)
	if err != nil {
		return err
	}
	all.Annotations = map[string]string{"org.opencontainers.image.ref.name": imageName + ":" + r.number()}
	top, err := json.Marshal(imageIndex{SchemaVersion: 2, MediaType: mediaIndex, Manifests: []descriptor{all}})
	if err != nil {
		return err
	}
	l.files = append(l.files, File{Name: "index.json", Text: top},
		File{Name: "oci-layout", Text: []byte(`{"imageLayoutVersion":"1.0.0"}`)})
	packed, err := tarred(l.files, r.time)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.out, fmt.Sprintf("corral_%s_image.tar", r.number())), packed, 0o644)
}

func (r *Release) systemImage(l *layout, s System) (descriptor, error) {
	program, err := os.ReadFile(r.progs[s])
	if err != nil {
		return descriptor{}, err
	}
	// Where there is no /tmp, no run can be registered, and corral says so each time.
	plain, err := tarred([]File{{Name: "corral", Text: program, Program: true}, {Name: "tmp/", Shared: true}}, r.time)
	if err != nil {
		return descriptor{}, err
	}
	packed, err := compressed(plain)
	if err != nil {
		return descriptor{}, err
	}
	config, err := l.document(mediaConfig, imageConfig{
		Created: r.time, platform: platform{s.Arch, s.OS},
		Config: imageRun{
			Env:        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/"},
			Entrypoint: []string{"/corral", "init", "--"}, WorkingDir: "/", Labels: r.annotations(),
		},
		RootFS:  imageRootFS{"layers", []string{"sha256:" + sumOf(plain)}},
		History: []history{{r.time, "COPY corral /corral"}},
	})
	if err != nil {
		return descriptor{}, err
	}
	return l.document(mediaManifest, manifest{
		SchemaVersion: 2, MediaType: mediaManifest, Config: config,
		Layers: []descriptor{l.blob(mediaLayer, packed)}, Annotations: r.annotations(),
	})
}

func (r *Release) annotations() map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":       "corral",
		"org.opencontainers.image.description": "run a command and leave none of its processes behind",
		"org.opencontainers.image.source":      "https://github.com/corral-run/corral",
		"org.opencontainers.image.licenses":    "MIT",
		"org.opencontainers.image.version":     r.number(),
		"org.opencontainers.image.revision":    r.commit,
	}
}
