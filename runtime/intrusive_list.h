// Doubly linked list whose links lie in the elements: nothing is allocated, an element leaves in
// O(1) without knowing its list, and an element that is destroyed leaves by itself.
//
// Ownership:  borrows the elements.
// Threads:    confined to one thread, elements and lists alike.
// Invariants: an element is on at most one list per Tag. A list is empty when it is destroyed
//             (CHECKed).

#ifndef ACRE_RUNTIME_INTRUSIVE_LIST_H_
#define ACRE_RUNTIME_INTRUSIVE_LIST_H_

#include "glog/logging.h"

namespace acre {

// Base of elements. An element may be on lists of several tags: it derives from one link for each.
template <class Tag>
class ListLink {
 public:
  ListLink() = default;
  ListLink(const ListLink&) = delete;
  ListLink& operator=(const ListLink&) = delete;
  ~ListLink() { Unlink(); }

  bool linked() const { return next_ != nullptr; }
  void Unlink() {
    if (next_ == nullptr) return;
    previous_->next_ = next_;
    next_->previous_ = previous_;
    previous_ = next_ = nullptr;
  }

 private:
  template <class T, class SomeTag>
  friend class IntrusiveList;

  ListLink* previous_ = nullptr;
  ListLink* next_ = nullptr;
};

template <class T, class Tag>
class IntrusiveList {
 public:
  IntrusiveList() { Clear(); }
  IntrusiveList(const IntrusiveList&) = delete;
  IntrusiveList& operator=(const IntrusiveList&) = delete;
  ~IntrusiveList() {
    CHECK(empty()) << "a list is destroyed with elements on it";
    end_.previous_ = end_.next_ = nullptr;
  }

  bool empty() const { return end_.next_ == &end_; }
  // Requires: not empty.
  T* front() { return static_cast<T*>(end_.next_); }
  T* back() { return static_cast<T*>(end_.previous_); }

  // Requires: the element is on no list of this tag.
  void PushBack(T* element) {
    Link* const link = element;
    DCHECK(!link->linked());
    link->previous_ = end_.previous_;
    link->next_ = &end_;
    end_.previous_->next_ = link;
    end_.previous_ = link;
  }
  // Requires: not empty.
  T* PopFront() {
    T* const element = front();
    static_cast<Link*>(element)->Unlink();
    return element;
  }
  // Appends all of `other`, which is left empty.
  void TakeAll(IntrusiveList* other) {
    if (other->empty()) return;
    other->end_.next_->previous_ = end_.previous_;
    end_.previous_->next_ = other->end_.next_;
    other->end_.previous_->next_ = &end_;
    end_.previous_ = other->end_.previous_;
    other->Clear();
  }

 private:
  using Link = ListLink<Tag>;

  void Clear() { end_.previous_ = end_.next_ = &end_; }

  Link end_;
};

}  // namespace acre

#endif  // ACRE_RUNTIME_INTRUSIVE_LIST_H_
